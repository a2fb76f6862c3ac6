"""HTTP transport: the only package that imports the libraries `requests` and `urllib3`."""
