"""Measure a batch run: CPU and memory of its rows, its files, and the start of a later run."""
