"""Put what a check finds into the words and exit codes of monitoring. Pure.

The rules:

* A finding says where, what is wrong, and what to do.
* CRITICAL: visitors are locked out, or will be by the next renewal; the server does not send the pins that
  are on record; other users can read a private key. WARNING: it works, and needs a look. UNKNOWN: check
  could not look at it.
* The exit code is that of the worst finding: critical before warning before unknown before ok. What is
  wrong for sure counts more than what is not known.
* The first line is a summary, and all that many monitoring systems show. One line for each finding follows,
  the worst first. On a sound site the summary is all.
* Strangers write parts of what is told, so all of it is made printable and short.
* A ``|`` would begin performance data for monitoring, so none is printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from certbot_pinkeep.core import text


class Severity(IntEnum):
    """Say how bad a finding is; the value is the exit code of monitoring plugins."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


_WORST_FIRST = (Severity.CRITICAL, Severity.WARNING, Severity.UNKNOWN)


@dataclass(frozen=True)
class Finding:
    """Hold something that is wrong.

    :ivar where: a host, a keyring, a certificate or a file
    :ivar what: what is wrong, as sentences
    :ivar todo: what to do, as sentences
    """

    severity: Severity
    where: str
    what: str
    todo: str


def critical(where: str, what: str, todo: str) -> Finding:
    """Make a finding that is critical."""
    return Finding(Severity.CRITICAL, where, what, todo)


def warning(where: str, what: str, todo: str) -> Finding:
    """Make a finding that needs a look."""
    return Finding(Severity.WARNING, where, what, todo)


def unknown(where: str, what: str, todo: str) -> Finding:
    """Make a finding of what could not be looked at."""
    return Finding(Severity.UNKNOWN, where, what, todo)


def worst_first(found: Sequence[Finding]) -> list[Finding]:
    """Sort the findings as they are told, each once."""
    return sorted(dict.fromkeys(found), key=lambda one: _WORST_FIRST.index(one.severity))


def exit_code(found: Sequence[Finding]) -> int:
    """Find the exit code: 0 ok, 1 warning, 2 critical, 3 unknown."""
    return int(worst_first(found)[0].severity) if found else int(Severity.OK)


def lines(found: Sequence[Finding], sound: str) -> list[str]:
    """Write the lines that are printed.

    :param sound: what check looked at, for the summary of a sound site
    """
    if not found:
        return [_line(f"PINKEEP OK - {sound}")]
    first, *more = worst_first(found)
    others = f" (and {len(more)} more)" if more else ""
    summary = f"PINKEEP {first.severity.name} - {first.where}: {first.what}{others}"
    told = (f"{one.severity.name}: {one.where}: {one.what} {one.todo}" for one in (first, *more))
    return [_line(summary), *map(_line, told)]


def _line(told: str) -> str:
    return text.short(text.one_line(told.replace("|", "/")), text.LONGEST)
