"""localproviders."""
