"""The core. Pure: bytes, values and ``now`` in, values out."""
