"""The JSON of rows and results, in the form of batches of the OpenAI API. No I/O."""
