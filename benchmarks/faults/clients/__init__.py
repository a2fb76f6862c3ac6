"""One module for each client, with the four forms of a call as a careful user would write them.

Each module is imported in the virtual environment of its client. Only the client and its
dependencies are installed there.
"""
