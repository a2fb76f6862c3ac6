"""One module for each client: how a careful user would write the four calls with it.

Each is imported in the virtual environment of its client, where nothing else is installed.
"""
