"""Pure functions that write and read the JSON of llama.cpp's own routes."""
