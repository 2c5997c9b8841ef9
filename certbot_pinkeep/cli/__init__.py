"""Hold the commands of ``certbot-pinkeep``: a module for each, with its arguments.

Each has ``add(commands)``, which adds its parser; that has ``run``, which returns the exit code.
"""
