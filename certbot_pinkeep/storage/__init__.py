"""Files: how they are written, found, locked and read."""
