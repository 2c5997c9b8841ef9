"""What is done, once for every entry point."""
