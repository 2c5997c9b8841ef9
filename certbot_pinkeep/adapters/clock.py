"""The clocks of this machine. Called at the edges only."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone


def now() -> datetime:
    """Return the present, read from the system's clock. Called at the edges only."""
    return datetime.now(timezone.utc).replace(microsecond=0)


def seconds() -> float:
    """Read a clock that nobody sets: the difference of two readings is how long a run took so far."""
    return time.monotonic()


def after(now: datetime, began: float) -> datetime:
    """Say when a run is that began at *now*, by :func:`seconds` at its beginning.

    Begun seconds do not count: a later run would take its own time for a clock that was set back.
    """
    return now + timedelta(seconds=int(seconds() - began))


def pause(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)
