"""Code that builds requests and reads responses, shared by all dialects. It does no I/O.

A dialect is the JSON that one kind of server reads and writes.
"""
