"""Pure functions that write and read the JSON of OpenAI's dialect."""
