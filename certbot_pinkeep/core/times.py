"""Points in time: aware UTC datetimes in whole seconds, written as RFC 3339.

A time that is read is one with which can be reckoned: a century more or less is still a date.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_WRITTEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
#: The times that are read.
EARLIEST = datetime(1970, 1, 1, tzinfo=timezone.utc)
LATEST = datetime(9000, 1, 1, tzinfo=timezone.utc)
#: A hundred years: the longest span that is read.
LONGEST = timedelta(seconds=3155760000)


def text(time: datetime) -> str:
    """Write *time* as RFC 3339, e.g. ``2026-11-23T09:00:00Z``."""
    return time.astimezone(timezone.utc).strftime(FORMAT)


def parse(written: str) -> datetime:
    """Read what :func:`text` wrote.

    :raises ValueError: for anything else
    """
    if not _WRITTEN.fullmatch(written):
        raise ValueError(f"not a time: {written!r}")
    # Several times as fast as strptime, and a keyring file has hundreds of times.
    time = datetime.fromisoformat(f"{written[:-1]}+00:00")
    if not EARLIEST <= time <= LATEST:
        raise ValueError(f"not a time that can be reckoned with: {written!r}")
    return time


def within(time: datetime) -> datetime:
    """Return the time, or the nearest one with which can be reckoned."""
    return min(max(time, EARLIEST), LATEST)


def of(thing: object, name: str) -> datetime | None:
    """Read a time of a certificate or a CRL, by its name in the library.

    Names with a time zone are newer than the oldest library that certbot 2.1 runs with.
    """
    aware: datetime | None = getattr(thing, f"{name}_utc", None)
    naive: datetime | None = None if aware else getattr(thing, name)
    return naive.replace(tzinfo=timezone.utc) if naive else aware


def span(written: str) -> timedelta:
    """Read a span in seconds.

    :raises ValueError: for anything else, and for more than a hundred years
    """
    return timedelta(seconds=number(written, round(LONGEST.total_seconds())))


def number(written: str, most: int) -> int:
    """Read a whole number from 0 to *most*, in ASCII digits.

    :raises ValueError: for anything else
    """
    if not (written.isascii() and written.isdigit() and len(written) <= len(str(most))):
        raise ValueError(f"not a number: {written[:40]!r}")
    if int(written) > most:
        raise ValueError(f"too large a number: {written}")
    return int(written)
