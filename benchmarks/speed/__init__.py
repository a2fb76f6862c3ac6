"""CPU time and memory of this package, of a minimal baseline, and of other clients."""
