"""Show the keys' lives, and for how long clients hold pins: rows of bars, and text. Pure.

The rules:

* A key is staged until it is first served. A key is in service until no lineage serves it.
* Pins are served from when pinkeep recorded them until other pins replaced them. Clients hold them for
  their max-age after that (RFC 7469 §2.3.1). A release is carried until its date, and held for its TTL after
  that.
* Clients hold what is served now until now plus its max-age, at least. A time in the future, after the
  clock was set back, is shown as it is.
* Of a port that was just pinned, a row stands for the records that may have been there unseen. Another row
  stands for those that no name server serves yet. Their labels say so.
* The timeline also shows the last policies that have expired, whether or not the ledger still has them.
* The picture ends when the last bar ends. Keys that were never used are left out.
* ``status`` says the same time from which a rollover is safe.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from certbot_pinkeep.core import rollover, times
from certbot_pinkeep.core.holdings import Window
from certbot_pinkeep.core.keyring import Key
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.state import State

#: What a bar shows: a key that is staged or in service; pins that are served, or only held.
Kind = Literal["staged", "service", "served", "held"]
#: How many expired windows are shown.
_MOST_PAST = 24


@dataclass(frozen=True)
class Bar:
    """Hold a span of time in a row."""

    kind: Kind
    start: datetime
    end: datetime


@dataclass(frozen=True)
class Row:
    """Hold the bars of a key, a policy or a release."""

    label: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Timeline:
    """Hold a keyring's history, and what follows from that history.

    :ivar keys: a row for each key, in the order in which the keys were made
    :ivar holdings: a row for each policy and release, in the order of time
    :ivar safe: from when a rollover is safe; ``None``: unknown
    """

    name: str
    keys: tuple[Row, ...]
    holdings: tuple[Row, ...]
    start: datetime
    end: datetime
    now: datetime
    safe: datetime | None
    why: str


def timeline(state: State, now: datetime, history: Iterable[Window] = ()) -> Timeline:
    """Build the timeline of a keyring, seen from *now*.

    :param history: what expired, beside the expired windows that the ledger still has
    """
    keyring, ledger = state.keyring, state.ledger
    keys = sorted(keyring.keys, key=lambda key: (key.created, key.first_served or now))
    served = keyring.served_pins
    windows = _windows(ledger, now, history)
    awaited = {one.window(max(now, one.recorded)) for one in ledger.zone if not one.confirmed}
    rows = tuple(row for key in keys if (row := _key(key, served=key.pin in served, now=now)).bars)
    held = tuple(
        _window(window, now, to_come=window in awaited)
        for window in windows
        if window.until > window.since
    )
    bars = [bar for row in (*rows, *held) for bar in row.bars]
    verdict = rollover.last(rollover.decide_all(keyring, ledger, now))
    safe = None if verdict.cause == "offline" else verdict.since
    ends = [bar.end for bar in bars] + ([safe] if safe else [])
    return Timeline(
        keyring.name,
        rows,
        held,
        min([now, *(bar.start for bar in bars)]),
        max([*ends, now + timedelta(days=1)]),
        now,
        safe,
        verdict.why,
    )


def _windows(ledger: Ledger, now: datetime, history: Iterable[Window]) -> list[Window]:
    """Return what is held now, and the last expired windows, in the order of time."""
    held = [one.window(max(now, one.recorded)) for one in ledger.holdings]
    # After an admin set the clock right, the history also has windows that are held again.
    again = {(one.what, one.pins, one.since) for one in held}
    past = dict.fromkeys((*history, *ledger.past))
    ended = [one for one in past if (one.what, one.pins, one.since) not in again]
    ended.sort(key=lambda window: window.until)
    return sorted([*ended[-_MOST_PAST:], *held], key=lambda one: (one.since, one.until))


def _key(key: Key, *, served: bool, now: datetime) -> Row:
    bars = []
    if key.first_served is not None:
        end = now if served or key.last_served is None else key.last_served
        bars.append(Bar("service", key.first_served, max(end, key.first_served)))
    gone = key.role in ("retired", "compromised") and key.first_served is None
    # By a clock that was set back, the key may have been made in the future.
    staged = key.first_served or max(now, key.created)
    if not gone and (key.created < staged or key.first_served is None):
        bars.insert(0, Bar("staged", key.created, staged))
    return Row(f"{key.pin[:10]} {key.role}", tuple(bars))


def _window(window: Window, now: datetime, *, to_come: bool) -> Row:
    # By a clock that was set back, the window may begin in the future.
    ended = max(window.ended or min(now, window.until), window.since)
    bars = [Bar("served", window.since, ended)] if ended > window.since else []
    if window.until > ended:
        bars.append(Bar("held", ended, window.until))
    label = window.what or _policy(window, now)
    if not window.pins:
        label += ", unknown pins"
    elif to_come:
        label += ", to come"
    return Row(label, tuple(bars))


def _policy(window: Window, now: datetime) -> str:
    """Name a policy: how many pins it has, and for how long clients hold them."""
    held = window.until - (window.ended or max(now, window.since))
    days = f"{held.days} day{'s' if held.days > 1 else ''}"
    return f"{len(window.pins)} pins, {days if held.days else f'{held.seconds} s'}"


def verdict(line: Timeline) -> str:
    """Say from when a rollover is safe, as a sentence."""
    if line.safe is None:
        return f"No rollover is safe yet, and the time is not known: {line.why}."
    when = times.text(line.safe)
    return (
        "A rollover is safe now." if line.safe <= line.now else f"A rollover is safe from {when}."
    )


_SIGNS: dict[Kind, tuple[str, str]] = {
    "staged": ("·", "."),
    "service": ("█", "#"),
    "served": ("▓", "="),
    "held": ("░", "-"),
}
MEANINGS: dict[Kind, str] = {
    "staged": "staged",
    "service": "in service",
    "served": "served or carried",
    "held": "held by clients",
}


def as_text(line: Timeline, width: int, *, plain: bool = False) -> str:
    """Write the timeline for a terminal.

    :param width: the terminal's width in columns
    :param plain: whether the terminal takes ASCII only
    """
    rows = (*line.keys, *line.holdings)
    left = max([len(row.label) for row in rows], default=0)
    room = max(width - left - 4, 20)
    out = [f"Keyring {line.name}, {times.text(line.start)[:10]} to {times.text(line.end)[:10]}"]
    for title, part in (("Keys", line.keys), ("Pins that clients hold", line.holdings)):
        out += ["", title]
        out += [
            f"  {row.label:{left}}  {_drawn(line, row.bars, room, plain=plain)}" for row in part
        ]
    out.append(f"  {'':{left}}  {_marked(line, room)}")
    signs = [f"{sign[plain]} {MEANINGS[kind]}" for kind, sign in _SIGNS.items()]
    out += ["", f"{'  '.join(signs)}  ^ now  S safe", verdict(line)]
    return "\n".join(out)


def _drawn(line: Timeline, bars: Iterable[Bar], room: int, *, plain: bool) -> str:
    cells = [" "] * room
    for bar in bars:
        start, end = _column(line, bar.start, room), _column(line, bar.end, room)
        for column in range(start, max(end, start + 1)):
            cells[min(column, room - 1)] = _SIGNS[bar.kind][plain]
    return "".join(cells).rstrip()


def _marked(line: Timeline, room: int) -> str:
    cells = [" "] * room
    if line.safe is not None and line.safe > line.now:
        cells[_column(line, line.safe, room)] = "S"
    cells[_column(line, line.now, room)] = "^"
    return "".join(cells).rstrip()


def _column(line: Timeline, time: datetime, room: int) -> int:
    share = (time - line.start) / (line.end - line.start)
    return min(max(int(share * room), 0), room - 1)
