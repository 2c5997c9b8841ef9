"""The servers that send the pins."""
