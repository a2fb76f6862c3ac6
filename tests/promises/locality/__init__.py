"""Local means local, and what is secret stays secret: the promise, piece by piece."""
