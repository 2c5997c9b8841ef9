"""Keyring files of earlier formats, read as the same file in today's format. Pure.

The rules:

* What an earlier format did not have yet is filled in with what its version of pinkeep took for granted.
* What it forgot stays as uncertain as it was: it never makes a rollover safe earlier (G8).

Format 2 knew nothing of zones: no records, and no ports.

Format 1 was written by version 0.1 and its forerunners, which added fields without another number:

* No lineage had moved, and no option was kept. If no hosts are named, a policy may be served at any host.
  Nothing was staged for a reason, forced or added.
* The policies that ran out were kept as windows, without their hosts: they bind at any.
* Beside those, the file had only the longest time for which any policy ever bound. It stands for a policy
  with pins that no key has: it forbids every rollover if a wrong clock made pinkeep forget it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from certbot_pinkeep.core import times
from certbot_pinkeep.core.pins import FORGOTTEN

Section = Mapping[str, Any]
#: The times of a policy.
_TIMES = ("recorded", "confirmed", "replaced")
#: What keys had not in the first forerunners.
_KEY = {"leave": "", "forced": "False", "last_served": "", "added": "False", "encrypted": ""}


def upgraded(parsed: Section, version: int) -> Section:
    """Return the values of a file of an earlier format, in today's format.

    :raises ValueError, KeyError: for what is none
    """
    if version == 2:
        return {**parsed, "zone": {}, "ports": {}}
    if version != 1:
        raise ValueError(f"there is no format {version}")
    return {
        "zone": {},
        "ports": {},
        "keyring": parsed["keyring"],
        "saved": parsed.get("saved", "0"),
        "rollover_days": parsed.get("rollover_days", "never"),
        "unpin": parsed.get("unpin", "False"),
        "snippet": parsed["snippet"],
        "tested": parsed.get("tested", ""),
        "latest_known": parsed.get("seen", ""),
        "uncertain": _uncertain(parsed.get("doubt", ""), parsed["blind_until"]),
        "lineages": {n: _lineage(one) for n, one in parsed["lineages"].items()},
        "keys": {n: _key(one) for n, one in parsed["keys"].items()},
        "ledger": {n: _policy(one) for n, one in parsed["ledger"].items()},
        "imported": parsed.get("inherited", {}),
        "releases": parsed.get("releases", {}),
        "expired": _expired(parsed),
        "options": parsed.get("options", {}),
    }


def _uncertain(doubt: str, until: str) -> Section:
    if not doubt and not until:
        return {}
    why = doubt or "the record is not whole"
    return {"why": why, "until": until, "cause": "doubt" if doubt else ""}


def _lineage(one: Any) -> Section:
    if isinstance(one, list):  # all in a line, for a few hours
        lineage, pin, loaded, transferred, *hosts = one
    elif "key" in one:
        return dict(one)
    else:
        lineage, pin, loaded = one["lineage"], one["pin"], one["loaded"]
        transferred, hosts = one.get("moved", ""), one["hosts"]
    return {"lineage": lineage, "key": [pin, loaded, transferred], "hosts": hosts}


def _key(one: Section) -> Section:
    key = {**_KEY, **one}
    key["retire_reason"] = key.pop("leave")
    return key


def _policy(one: Section) -> Section:
    return {"hosts": [], **one}


def _expired(parsed: Section) -> Section:
    over = list(parsed.get("over", {}).values())
    released = {(" ".join(one["release"]), one["recorded"]) for one in over}
    windows = [*parsed.get("past", {}).values()]
    found = [*over]
    for what, since, ended, until, *pins in windows:
        if (what, since) not in released:
            found.append(_window(what, since, ended or until, until, pins))
    found += _forgotten(parsed)
    # All of it: the ledger notes what it does not keep.
    return {str(number): one for number, one in enumerate(sorted(found, key=_end), 1)}


def _window(what: str, since: str, ended: str, until: str, pins: list[str]) -> Section:
    held = times.parse(until) - times.parse(ended)
    seconds = str(max(0, round(held.total_seconds())))
    if not what:
        ended = max(since, ended)
        return _entry(pins, seconds, since, ended)
    channel, _, label = what.partition(" ")
    return {
        "release": [channel, label],
        "pins": pins,
        "hosts": [],
        "recorded": since,
        "until": ended,
        "ttl": seconds,
        "subdomains": "False",
    }


def _forgotten(parsed: Section) -> Iterator[Section]:
    """Yield what stands for the policies of which only the longest time is known."""
    policies = [one for name in ("ledger", "inherited") for one in parsed.get(name, {}).values()]
    ages = [int(one["max_age"]) for one in policies]
    longest = parsed.get("longest", str(max(ages, default=0)))
    latest = max(
        [parsed.get("seen", ""), *(one[name] for one in policies for name in _TIMES)], default=""
    )
    if latest and int(longest):
        yield _entry(FORGOTTEN, longest, latest, latest)


def _entry(pins: Iterable[str], max_age: str, since: str, ended: str) -> Section:
    return {
        "pins": list(pins),
        "max_age": max_age,
        "include_subdomains": "False",
        "report_uri": "",
        "report_only": "False",
        "hosts": [],
        "recorded": since,
        "confirmed": since,
        "replaced": ended,
    }


def _end(one: Section) -> datetime:
    """Return until when it binds, a release or a policy that was replaced."""
    if "release" in one:
        return times.parse(one["until"]) + times.span(one["ttl"])
    return times.parse(one["replaced"]) + times.span(one["max_age"])
