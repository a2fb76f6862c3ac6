"""Pure functions that write and read the JSON of LM Studio's own API.

The functions for the OpenAI dialect are in `openai_compatible.wire`.
"""
