"""Certbot and the CA."""
