"""How light and how fast: this package, the bare minimum, and other clients, side by side."""
