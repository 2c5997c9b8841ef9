"""Where unit tests write."""

from simulated import memory  # noqa: F401 - for what it does
