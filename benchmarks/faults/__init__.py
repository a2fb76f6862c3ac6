"""The table of faults, run over other clients of the same servers, to compare them."""
