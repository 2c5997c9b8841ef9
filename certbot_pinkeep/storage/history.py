"""The history of a keyring: what was held, from when until when. The timeline draws the history; nothing
follows from it.

The rules:

* The file only grows, by a line for each policy and release that expired.
* A line that cannot be read is passed over. A history that is missing, that other users can change or that
  cannot be written stops nothing: only the picture lacks it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Iterator
from urllib.parse import quote, unquote

from certbot_pinkeep.core import times
from certbot_pinkeep.core.holdings import Window
from certbot_pinkeep.storage import atomic

logger = logging.getLogger(__name__)

_POLICY, _RELEASE = "policy", "release:"
_TITLE = "# Written by certbot-pinkeep, for its timeline: from, replaced, held until, what, pins.\n"


def read(path: str, trusted: Collection[int] = ()) -> tuple[Window, ...]:
    """Return what a history has, in the order in which it was added.

    :param trusted: as for :func:`trust.exposed`
    """
    try:
        content = atomic.read_closed(path, trusted)
    except OSError as error:
        logger.debug("%s cannot be read: %s", path, error)
        return ()
    return tuple(_windows(content.decode(errors="replace").splitlines()))


def add(path: str, windows: Iterable[Window]) -> None:
    """Add to a history."""
    lines = "".join(map(_line, windows))
    try:
        if lines:
            title = "" if os.path.lexists(path) else _TITLE
            atomic.append(path, (title + lines).encode(), 0o600)
    except OSError as error:
        logger.debug("%s cannot be written: %s", path, error)


def _line(window: Window) -> str:
    what = _RELEASE + quote(window.what, safe="") if window.what else _POLICY
    ended = times.text(window.ended) if window.ended else "-"
    values = (times.text(window.since), ended, times.text(window.until), what, *window.pins)
    return " ".join(values) + "\n"


def _windows(lines: Iterable[str]) -> Iterator[Window]:
    for line in lines:
        try:
            since, ended, until, what, *pins = line.split()
            end = None if ended == "-" else times.parse(ended)
            name = "" if what == _POLICY else unquote(what.removeprefix(_RELEASE))
            yield Window(name, tuple(pins), times.parse(since), end, times.parse(until))
        except ValueError:
            continue  # the title, or what a kill left
