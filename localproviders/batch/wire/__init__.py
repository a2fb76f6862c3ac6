"""Reads and writes the JSON of rows and results, in the form of OpenAI's batches. No I/O."""
