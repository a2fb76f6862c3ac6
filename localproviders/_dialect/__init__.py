"""Code that the wire modules of all dialects share. It does no input or output."""
