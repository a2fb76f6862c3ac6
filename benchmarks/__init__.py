"""Benchmarks and comparisons that are run by hand; the tests do not run them."""
