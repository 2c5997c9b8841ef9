"""No unit test depends on how busy the machine is: a run takes no time, unless the test says so, and
nobody waits for the disk. What the other helpers build on imports this.

Time limits for what is outside are kept by the real clock, which is ``time.monotonic``.
"""

from __future__ import annotations

import os

from certbot_pinkeep.adapters import clock


def _seconds() -> float:
    return 0.0


def _fsync(descriptor: object) -> None:
    """What is written is there as long as the machine runs."""


def _pause(seconds: float) -> None:
    """Nothing needs a moment."""


for _owner, _name, _instead in (
    (clock, "seconds", _seconds),
    (clock, "pause", _pause),
    (os, "fsync", _fsync),
):
    setattr(_owner, _name, _instead)  # for good, in this process
