"""Compare this package with other clients when a server misbehaves.

The faults are the rows of the table in ``tests/promises/faults``.
"""
