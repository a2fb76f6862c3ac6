"""HTTP transport: the only package that imports requests and urllib3."""
