"""Pure functions that write and read Ollama's JSON."""
