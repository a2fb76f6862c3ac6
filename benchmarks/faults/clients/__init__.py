"""One module for each client, with the four calls as a careful user would write them.

Each module is imported in the virtual environment of its client, where only the client and its
dependencies are installed.
"""
