"""Bring pins to clients: web servers, and zones."""
