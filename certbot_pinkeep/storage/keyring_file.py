"""The keyring file's format: a keyring's state as text, and read from it again. Pure.

The rules:

* The file is ConfigObj, as certbot's own renewal files are.
* The first line is the SHA-256 of all that follows: a file that was cut short or edited is
  damaged, and what is damaged is not guessed at (G8).
* A file that contradicts itself is damaged as well.
* A file of an earlier format is read as the same in today's (see ``earlier_formats``). One of a later
  format is not read at all: what it says there may be what forbids a rollover.
* No field is left out, and none is filled in: what is missing is damage.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, cast
from urllib.parse import unquote

import configobj

from certbot_pinkeep.core import times
from certbot_pinkeep.core.errors import PinkeepError
from certbot_pinkeep.core.holdings import Entry, Holding, Release, ZoneEntry
from certbot_pinkeep.core.keyring import Key, Keyring, Member, RetireReason, Role
from certbot_pinkeep.core.kinds import KeyKind, KeyType
from certbot_pinkeep.core.ledger import Ledger, Uncertainty
from certbot_pinkeep.core.pem import CURVES
from certbot_pinkeep.core.pins import is_pin
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.core.state import State
from certbot_pinkeep.core.tlsa import Port, read_port
from certbot_pinkeep.core.zone import Service
from certbot_pinkeep.storage import earlier_formats

#: The format that is written; this and every earlier one is read.
VERSION = 3
_ROLES = ("primary", "backup", "in-service", "retired", "compromised")
_RETIRE_REASONS = ("", "asked", "revoked", "lost")
_CAUSES = ("", "doubt")
_NEIGHBOUR = "neighbour"
_CHECKSUM = "checksum = "
_TITLE = b"# Written by certbot-pinkeep. Do not edit: an edited file counts as damaged.\n"
#: No number in a file is larger than what pinkeep writes; nothing has to reckon with such a one.
_MOST_DAYS, _MOST_SAVED, _MOST_BITS, _MOST_VERSION = 36500, 10**12, 65536, 10**6
#: The largest max-age that is read: what a header may say is for ever already.
_LONGEST_AGE = 10**20

Section = dict[str, str | list[str]]
#: What the file has numbered sections of.
Item = Member | Key | Holding | Service
#: A section that was read; ConfigObj has values of several kinds.
Read = Mapping[str, Any]


class NewerFormat(ValueError):
    """A keyring file that a later version of pinkeep wrote.

    :ivar version: its format
    """

    def __init__(self, version: int) -> None:
        super().__init__(f"it has the format {version}")
        self.version = version


def write(state: State) -> bytes:
    """Return the state as the keyring file's content.

    :raises PinkeepError: for text that no such file can hold
    """
    keyring, ledger, days = state.keyring, state.ledger, state.keyring.rollover_days
    head: Section = {
        "version": str(VERSION),
        "keyring": keyring.name,
        "saved": str(state.saved),
        "rollover_days": "never" if days is None else str(days),
        "unpin": str(state.unpin),
        "snippet": state.snippet,
        "tested": state.tested,
        "latest_known": _write_time(ledger.latest_known),
    }
    try:
        body = _TITLE + b"".join(
            (
                _lines(head),
                b"[uncertain]\n",
                _lines(_write_uncertainty(ledger.uncertain)),
                *_listed("lineages", keyring.members),
                *_listed("keys", keyring.keys),
                *_listed("ledger", ledger.entries),
                *_listed("imported", ledger.imported),
                *_listed("releases", ledger.releases),
                *_listed("zone", ledger.zone),
                *_listed("expired", ledger.expired),
                *_listed("ports", state.services),
                b"[options]\n",
                _lines(state.settings),
            )
        )
    except configobj.ConfigObjError as error:
        raise PinkeepError(
            f"The keyring file of {keyring.name} cannot hold what is to be kept in it: {error}."
        ) from error
    return f"{_CHECKSUM}{hashlib.sha256(body).hexdigest()}\n".encode() + body


def _listed(title: str, items: Iterable[Item]) -> Iterator[bytes]:
    """Yield a section of numbered sections."""
    yield f"[{title}]\n".encode()
    for number, item in enumerate(items, 1):
        yield f"[[{number}]]\n".encode()
        yield _item_lines(item)


@lru_cache(maxsize=8192)
def _item_lines(item: Item) -> bytes:
    """Return the lines of a section. Of hundreds of lineages and keys, one or two change at a time: to
    have ConfigObj write the others as well would take most of the time."""
    return _lines(section_of(item))


def section_of(item: Item) -> Section:
    """Return a lineage, a key, what binds, or what a port serves, as text."""
    if isinstance(item, Member):
        return _write_member(item)
    if isinstance(item, Key):
        return _write_key(item)
    if isinstance(item, Service):
        return _write_service(item)
    if isinstance(item, ZoneEntry):
        return _write_records(item)
    return _write_release(item) if isinstance(item, Release) else _write_entry(item)


def _lines(values: Mapping[str, str | list[str]]) -> bytes:
    """Values as lines.

    :raises configobj.ConfigObjError: for a value that cannot be written
    """
    content = configobj.ConfigObj(interpolation=False, encoding="utf-8")
    content.update(values)
    written = io.BytesIO()
    content.write(written)
    return written.getvalue() if values else b""


def read(name: str, content: bytes) -> State:
    """Read what :func:`write` wrote for the keyring *name*.

    :raises NewerFormat: for what a later version of it wrote
    :raises ValueError, KeyError, TypeError, PinkeepError: for anything else
    """
    parsed = _parsed(content)
    if parsed["keyring"] != name:
        raise ValueError(f"it is the file of the keyring {parsed['keyring']}")
    days = parsed["rollover_days"]
    keyring = Keyring(
        name,
        tuple(map(_read_member, parsed["lineages"].values())),
        tuple(map(_read_key, parsed["keys"].values())),
        None if days == "never" else times.number(days, _MOST_DAYS),
    )
    _check(keyring)
    return State(
        keyring,
        _read_ledger(parsed),
        _one(parsed, "snippet"),
        _one(parsed, "tested"),
        read_bool(parsed["unpin"]),
        times.number(_one(parsed, "saved"), _MOST_SAVED),
        {option: _one(parsed["options"], option) for option in parsed["options"]},
        tuple(map(_read_service, parsed["ports"].values())),
    )


def is_earlier(content: bytes) -> bool:
    """Return whether the content, which can be read, is in an earlier format."""
    return f"\nversion = {VERSION}\n".encode() not in content


def _parsed(content: bytes) -> Read:
    """Return the file's values, in today's format."""
    first, _, body = content.partition(b"\n")
    if first != f"{_CHECKSUM}{hashlib.sha256(body).hexdigest()}".encode():
        raise ValueError("it was cut short or edited: its checksum is wrong")
    try:
        parsed = cast(
            "Read",
            configobj.ConfigObj(
                io.BytesIO(body), interpolation=False, encoding="utf-8", default_encoding="utf-8"
            ),
        )
    except configobj.ConfigObjError as error:
        raise ValueError(str(error)) from error
    version = times.number(_one(parsed, "version"), _MOST_VERSION)
    if version > VERSION:
        raise NewerFormat(version)
    return parsed if version == VERSION else earlier_formats.upgraded(parsed, version)


def _check(keyring: Keyring) -> None:
    pins = [key.pin for key in keyring.keys]
    if len(set(pins)) != len(pins):
        raise ValueError("a key is listed twice")
    for key_type in {key.kind.key_type for key in keyring.keys}:
        if sum(k.role == "primary" and k.kind.key_type == key_type for k in keyring.keys) > 1:
            raise ValueError(f"two {key_type} keys are primary")
    if any(member.pin not in pins for member in keyring.members):
        raise ValueError("a lineage has a key that is not listed")


# Lineages and keys


def _write_member(member: Member) -> Section:
    # In few lines: there may be hundreds of lineages, and all is written anew with each change.
    return {
        "lineage": member.lineage,
        "key": [
            *(member.pin, member.loaded or "", member.transferred),
            *(() if member.enrolled else (_NEIGHBOUR,)),
        ],
        "hosts": list(member.hosts),
    }


def _read_member(section: Read) -> Member:
    pin, loaded, transferred, *more = _several(section, "key")
    if more not in ([], [_NEIGHBOUR]):
        raise ValueError(f"not what a lineage is: {more!r}")
    hosts = _several(section, "hosts")
    return Member(_one(section, "lineage"), hosts, pin, loaded or None, transferred, not more)


def _write_key(key: Key) -> Section:
    return {
        "pin": key.pin,
        "type": key.kind.key_type,
        "kind": key.kind.detail,
        "role": key.role,
        "path": key.path or "",
        "encrypted": key.encrypted,
        "added": str(key.added),
        "created": times.text(key.created),
        "first_served": _write_time(key.first_served),
        "last_served": _write_time(key.last_served),
        "retire_reason": key.retire_reason,
        "forced": str(key.forced),
    }


def _read_key(section: Read) -> Key:
    if not is_pin(section["pin"]):
        raise ValueError(f"not a pin: {section['pin']!r}")
    return Key(
        pin=section["pin"],
        kind=_read_kind(section["type"], section["kind"]),
        role=cast(Role, _among(section, "role", _ROLES)),
        path=_one(section, "path") or None,
        created=times.parse(section["created"]),
        first_served=_time(section, "first_served"),
        retire_reason=cast(RetireReason, _among(section, "retire_reason", _RETIRE_REASONS)),
        forced=read_bool(section["forced"]),
        last_served=_time(section, "last_served"),
        added=read_bool(section["added"]),
        encrypted=_one(section, "encrypted"),
    )


def _read_kind(key_type: str, detail: str) -> KeyKind:
    if not (key_type == "rsa" and times.number(detail, _MOST_BITS)) and not (
        key_type == "ecdsa" and detail in CURVES
    ):
        raise ValueError(f"not a kind of key: {key_type} {detail}")
    return KeyKind(cast(KeyType, key_type), detail)


# The ledger


def _read_ledger(parsed: Read) -> Ledger:
    entries, imported, releases, zone, expired = (
        read_holdings(parsed[name])
        for name in ("ledger", "imported", "releases", "zone", "expired")
    )
    ledger = Ledger(
        tuple(one for one in entries if isinstance(one, Entry)),
        tuple(one for one in imported if isinstance(one, Entry)),
        tuple(one for one in releases if isinstance(one, Release)),
        expired,
        _read_uncertainty(parsed["uncertain"]),
        _time(parsed, "latest_known"),
        tuple(one for one in zone if isinstance(one, ZoneEntry)),
    )
    kept = (ledger.entries, ledger.imported, ledger.releases, ledger.zone)
    if kept != (entries, imported, releases, zone):
        raise ValueError("a policy, a release or a zone's records are among others")
    recorded = [entry.recorded for entry in ledger.entries]
    if recorded != sorted(recorded):
        raise ValueError("the policies are not in the order of time")
    if ledger.current is not None and ledger.current.replaced is not None:
        raise ValueError("the last policy was replaced by none")
    if any(not isinstance(one, Release) and one.replaced is None for one in expired):
        raise ValueError("a policy expired that was replaced by none")
    return ledger


def _write_uncertainty(known: Uncertainty | None) -> Section:
    if known is None:
        return {}
    return {"why": known.why, "until": _write_time(known.until), "cause": known.cause}


def _read_uncertainty(section: Read) -> Uncertainty | None:
    if not section:
        return None
    until, cause = _time(section, "until"), _among(section, "cause", _CAUSES)
    if until is None and not cause:
        raise ValueError("what is uncertain has neither a cause nor an end")
    return Uncertainty(_one(section, "why"), until, cast(Any, cause))


def read_holdings(sections: Mapping[str, Read]) -> tuple[Holding, ...]:
    """Read policies and releases in sections that :func:`section_of` made.

    :raises ValueError, KeyError, BadPolicy: if a section is not one of ours
    """
    return tuple(map(_read_holding, sections.values()))


def _read_holding(section: Read) -> Holding:
    if "release" in section:
        return _read_release(section)
    return _read_records(section) if "port" in section else _read_entry(section)


def _write_records(entry: ZoneEntry) -> Section:
    return {
        "port": _write_port(entry.port),
        "pins": list(entry.pins),
        "ttl": str(round(entry.ttl.total_seconds())),
        **_write_times(entry),
    }


def _read_records(section: Read) -> ZoneEntry:
    ttl = times.span(_one(section, "ttl"))
    return ZoneEntry(_read_port(section), _pins(section), ttl, *_read_times(section))


def _write_service(service: Service) -> Section:
    return {
        "port": _write_port(service.port),
        "pins": list(service.pins),
        "seen": _write_time(service.seen),
    }


def _read_service(section: Read) -> Service:
    return Service(_read_port(section), _pins(section), _time(section, "seen"))


def _write_port(port: Port) -> list[str]:
    return [port.host, str(port.number), port.start]


def _read_port(section: Read) -> Port:
    host, number, start = _several(section, "port")
    return read_port(host, number, start)


def _pins(section: Read) -> tuple[str, ...]:
    pins = _several(section, "pins")
    if not all(map(is_pin, pins)):
        raise ValueError(f"not all are pins: {pins!r}")
    return pins


def _write_release(release: Release) -> Section:
    return {
        "release": [_escaped(release.channel), _escaped(release.label)],
        "pins": list(release.pins),
        "hosts": list(release.hosts),
        "recorded": times.text(release.recorded),
        "until": times.text(release.until),
        "ttl": str(round(release.ttl.total_seconds())),
        "subdomains": str(release.subdomains),
    }


def _read_release(section: Read) -> Release:
    channel, label = _several(section, "release")
    return Release(
        channel=unquote(channel),
        label=unquote(label),
        pins=_several(section, "pins"),
        hosts=_several(section, "hosts"),
        recorded=times.parse(_one(section, "recorded")),
        until=times.parse(_one(section, "until")),
        ttl=times.span(_one(section, "ttl")),
        subdomains=read_bool(_one(section, "subdomains")),
    )


def _escaped(text: str) -> str:
    # A list in the file can hold no value that has quotes of both kinds.
    return text.replace("%", "%25").replace('"', "%22")


def _write_entry(entry: Entry) -> Section:
    policy = entry.policy
    return {
        "pins": list(policy.pins),
        "max_age": str(policy.max_age),
        "include_subdomains": str(policy.include_subdomains),
        "report_uri": policy.report_uri or "",
        "report_only": str(policy.report_only),
        "hosts": list(entry.hosts),
        **_write_times(entry),
    }


def _read_entry(section: Read) -> Entry:
    policy = Policy(
        pins=_several(section, "pins"),
        max_age=times.number(_one(section, "max_age"), _LONGEST_AGE),
        include_subdomains=read_bool(_one(section, "include_subdomains")),
        report_uri=_one(section, "report_uri") or None,
        report_only=read_bool(_one(section, "report_only")),
    )
    return Entry(policy, *_read_times(section), _several(section, "hosts"))


def _write_times(entry: Entry | ZoneEntry) -> Section:
    return {
        "recorded": times.text(entry.recorded),
        "confirmed": _write_time(entry.confirmed),
        "replaced": _write_time(entry.replaced),
    }


def _read_times(section: Read) -> tuple[datetime, datetime | None, datetime | None]:
    recorded = times.parse(_one(section, "recorded"))
    confirmed, replaced = _time(section, "confirmed"), _time(section, "replaced")
    known = [time for time in (recorded, confirmed, replaced) if time is not None]
    if known != sorted(known):
        raise ValueError("a policy was replaced or confirmed before it was recorded")
    return recorded, confirmed, replaced


# Values


def _write_time(time: datetime | None) -> str:
    return times.text(time) if time else ""


def _time(section: Read, name: str) -> datetime | None:
    written = _one(section, name)
    return times.parse(written) if written else None


def _one(section: Read, name: str) -> str:
    value = section[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value


def _among(section: Read, name: str, known: Iterable[str]) -> str:
    value = _one(section, name)
    if value not in known:
        raise ValueError(f"not a value of {name}: {value!r}")
    return value


def _several(section: Read, name: str) -> tuple[str, ...]:
    """Return a list of text; ConfigObj reads one of one item as that item."""
    value = section[name]
    found = tuple(value) if isinstance(value, list) else (value,)
    if not all(isinstance(one, str) for one in found):
        raise ValueError("a section is where a list of text has to be")
    return cast("tuple[str, ...]", found)


def read_bool(written: object) -> bool:
    """``True`` or ``False`` as :func:`str` writes them.

    :raises ValueError: for anything else
    """
    if written not in ("True", "False"):
        raise ValueError(f"neither True nor False: {written!r}")
    return written == "True"
