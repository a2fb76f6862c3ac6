"""The only rooms that know requests, urllib3 and sockets."""
