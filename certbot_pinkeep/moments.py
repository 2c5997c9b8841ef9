"""Points in time: aware UTC datetimes in whole seconds, written as RFC 3339."""

from __future__ import annotations

from datetime import datetime, timezone

FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def now() -> datetime:
    """The present, read from the system's clock. Called at the edges only."""
    return datetime.now(timezone.utc).replace(microsecond=0)


def text(moment: datetime) -> str:
    """Write *moment* as RFC 3339, e.g. ``2026-11-23T09:00:00Z``."""
    return moment.astimezone(timezone.utc).strftime(FORMAT)


def parse(written: str) -> datetime:
    """Read what :func:`text` wrote.

    :raises ValueError: for anything else
    """
    return datetime.strptime(written, FORMAT).replace(tzinfo=timezone.utc)
