"""What ``certbot-pinkeep`` can do: a module for each of its commands, with its arguments.

Each has ``add(commands)``, which adds its parser; that has ``run``, which returns the exit code.
"""
