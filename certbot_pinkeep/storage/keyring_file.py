"""The keyring file's format: a keyring's state and ledger as text, and read from it again. Pure.

The rules:

* The file is ConfigObj, as certbot's own renewal files are.
* The first line is the SHA-256 of all that follows: a file that was cut short or edited is
  damaged, and what is damaged is not guessed at (G8).
* A file that contradicts itself is damaged as well.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, cast
from urllib.parse import unquote

import configobj

from certbot_pinkeep.core import times
from certbot_pinkeep.core.errors import PinkeepError
from certbot_pinkeep.core.keyring import Key, Keyring, Member, RetireReason, Role
from certbot_pinkeep.core.kinds import KeyKind, KeyType
from certbot_pinkeep.core.ledger import Entry, Ledger, Release, Window
from certbot_pinkeep.core.pem import CURVES
from certbot_pinkeep.core.pins import is_pin
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.core.state import State

VERSION = "1"
_ROLES = ("primary", "backup", "in-service", "retired", "compromised")
_LEAVES = ("", "asked", "revoked", "lost")
_NEIGHBOUR = "neighbour"
_CHECKSUM = "checksum = "
#: No number in a file is larger than what pinkeep writes; nothing has to reckon with such a one.
_MOST_DAYS, _MOST_SAVED, _MOST_BITS = 36500, 10**12, 65536
#: The largest max-age that is read: what a header may say is for ever already.
_LONGEST_AGE = 10**20


def write(state: State) -> bytes:
    """The state as the keyring file's content.

    :raises PinkeepError: for text that no such file can hold
    """
    keyring = state.keyring
    content = configobj.ConfigObj(interpolation=False, encoding="utf-8")
    content["version"] = VERSION
    content["keyring"] = keyring.name
    content["snippet"] = state.snippet
    content["tested"] = state.tested
    content["unpin"] = str(state.unpin)
    content["saved"] = str(state.saved)
    days = keyring.rollover_days
    content["rollover_days"] = "never" if days is None else str(days)
    content["doubt"] = state.ledger.doubt
    content["longest"] = str(round(state.ledger.longest.total_seconds()))
    blind = state.ledger.blind_until
    content["blind_until"] = times.text(blind) if blind else ""
    content["seen"] = times.text(state.ledger.seen) if state.ledger.seen else ""
    content["lineages"] = {str(n): _write_member(m) for n, m in enumerate(keyring.members, 1)}
    content["keys"] = {str(n): _write_key(k) for n, k in enumerate(keyring.keys, 1)}
    content["ledger"] = write_entries(state.ledger.entries)
    content["inherited"] = write_entries(state.ledger.imported)
    content["releases"] = _write_releases(state.ledger.releases)
    content["over"] = _write_releases(state.ledger.over)
    content["past"] = _write_past(state.ledger.past)
    content["options"] = dict(state.settings)
    written = io.BytesIO()
    try:
        content.write(written)
    except configobj.ConfigObjError as error:
        raise PinkeepError(
            f"The keyring file of {keyring.name} cannot hold what is to be kept in it: {error}. Nothing "
            "was changed."
        ) from error
    body = b"# Written by certbot-pinkeep. Do not edit: an edited file counts as damaged.\n"
    body += written.getvalue()
    return f"{_CHECKSUM}{hashlib.sha256(body).hexdigest()}\n".encode() + body


def read(name: str, content: bytes) -> State:
    """Read what :func:`write` wrote for the keyring *name*.

    :raises ValueError, KeyError, TypeError, PinkeepError: for anything else
    """
    first, _, body = content.partition(b"\n")
    if first != f"{_CHECKSUM}{hashlib.sha256(body).hexdigest()}".encode():
        raise ValueError("it was cut short or edited: its checksum is wrong")
    try:
        parsed = cast(
            "Mapping[str, Any]",
            configobj.ConfigObj(
                io.BytesIO(body), interpolation=False, encoding="utf-8", default_encoding="utf-8"
            ),
        )
    except configobj.ConfigObjError as error:
        raise ValueError(str(error)) from error
    if parsed["version"] != VERSION:
        raise ValueError(f"it has the version {parsed['version']}, not {VERSION}")
    if parsed["keyring"] != name:
        raise ValueError(f"it is the file of the keyring {parsed['keyring']}")
    keyring = Keyring(
        name,
        tuple(_read_member(section) for section in parsed["lineages"].values()),
        tuple(_read_key(section) for section in parsed["keys"].values()),
        None
        if parsed["rollover_days"] == "never"
        else times.number(parsed["rollover_days"], _MOST_DAYS),
    )
    _check(keyring)
    return State(
        keyring,
        Ledger(
            read_entries(parsed["ledger"]),
            _read_moment(parsed["blind_until"]),
            _read_moment(parsed["seen"]),
            _one(parsed, "doubt"),
            times.span(_one(parsed, "longest")),
            read_entries(parsed["inherited"], ordered=False),
            _read_releases(parsed["releases"]),
            _read_past(parsed["past"]),
            _read_releases(parsed.get("over", {})),
        ),
        _one(parsed, "snippet"),
        _one(parsed, "tested"),
        read_bool(parsed["unpin"]),
        times.number(_one(parsed, "saved"), _MOST_SAVED),
        {option: _one(parsed["options"], option) for option in parsed["options"]},
    )


def _read_moment(written: str) -> datetime | None:
    return times.parse(written) if written else None


def _check(keyring: Keyring) -> None:
    pins = [key.pin for key in keyring.keys]
    if len(set(pins)) != len(pins):
        raise ValueError("a key is listed twice")
    for key_type in {key.kind.key_type for key in keyring.keys}:
        if sum(k.role == "primary" and k.kind.key_type == key_type for k in keyring.keys) > 1:
            raise ValueError(f"two {key_type} keys are primary")
    if any(member.pin not in pins for member in keyring.members):
        raise ValueError("a lineage has a key that is not listed")


def _write_member(member: Member) -> dict[str, str | list[str]]:
    # In few lines: there may be hundreds of lineages, and all is written anew with each change.
    return {
        "lineage": member.lineage,
        "key": [
            *(member.pin, member.loaded or "", member.transferred),
            *(() if member.enrolled else (_NEIGHBOUR,)),
        ],
        "hosts": list(member.hosts),
    }


def _read_member(section: Mapping[str, Any]) -> Member:
    pin, loaded, moved, *more = _several(section["key"])
    if more not in ([], [_NEIGHBOUR]):
        raise ValueError(f"not what a lineage is: {more!r}")
    hosts = _several(section["hosts"])
    return Member(_one(section, "lineage"), hosts, pin, loaded or None, moved, not more)


def _one(section: Mapping[str, Any], name: str) -> str:
    value = section[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value


def _write_key(key: Key) -> dict[str, str]:
    return {
        "pin": key.pin,
        "type": key.kind.key_type,
        "kind": key.kind.detail,
        "role": key.role,
        "path": key.path or "",
        "created": times.text(key.created),
        "first_served": times.text(key.first_served) if key.first_served else "",
        "leave": key.retire_reason,
        "forced": str(key.forced),
        "last_served": times.text(key.last_served) if key.last_served else "",
        "added": str(key.added),
        "encrypted": key.encrypted,
    }


def _read_key(section: Mapping[str, Any]) -> Key:
    if not is_pin(section["pin"]):
        raise ValueError(f"not a pin: {section['pin']!r}")
    if section["role"] not in _ROLES:
        raise ValueError(f"not a role: {section['role']!r}")
    if section["leave"] not in _LEAVES:
        raise ValueError(f"not a wish to leave a key: {section['leave']!r}")
    return Key(
        pin=section["pin"],
        kind=_read_kind(section["type"], section["kind"]),
        role=cast(Role, section["role"]),
        path=_one(section, "path") or None,
        created=times.parse(section["created"]),
        first_served=_read_moment(section["first_served"]),
        retire_reason=cast(RetireReason, section["leave"]),
        forced=read_bool(section["forced"]),
        last_served=_read_moment(section["last_served"]),
        added=read_bool(section["added"]),
        encrypted=_one(section, "encrypted"),
    )


def _read_kind(key_type: str, detail: str) -> KeyKind:
    if not (key_type == "rsa" and times.number(detail, _MOST_BITS)) and not (
        key_type == "ecdsa" and detail in CURVES
    ):
        raise ValueError(f"not a kind of key: {key_type} {detail}")
    return KeyKind(cast(KeyType, key_type), detail)


def write_entries(entries: Iterable[Entry]) -> dict[str, dict[str, str | list[str]]]:
    """The entries as sections of text, in order (see :func:`read_entries`)."""
    return {str(number): _write_entry(entry) for number, entry in enumerate(entries, 1)}


def _write_releases(releases: Iterable[Release]) -> dict[str, dict[str, str | list[str]]]:
    """The releases as sections of text, in order (see :func:`_read_releases`)."""
    return {
        str(number): {
            "release": [_escaped(release.channel), _escaped(release.label)],
            "pins": list(release.pins),
            "hosts": list(release.hosts),
            "recorded": times.text(release.recorded),
            "until": times.text(release.until),
            "ttl": str(round(release.ttl.total_seconds())),
            "subdomains": str(release.subdomains),
        }
        for number, release in enumerate(releases, 1)
    }


def _read_releases(
    sections: Mapping[str, Mapping[str, str | list[str]]],
) -> tuple[Release, ...]:
    """Read what :func:`_write_releases` wrote.

    :raises ValueError, KeyError: when a section is not one of ours
    """
    return tuple(_read_release(section) for section in sections.values())


def _read_release(section: Mapping[str, str | list[str]]) -> Release:
    channel, label = _several(section["release"])
    return Release(
        channel=unquote(channel),
        label=unquote(label),
        pins=_several(section["pins"]),
        hosts=_several(section["hosts"]),
        recorded=times.parse(_one(section, "recorded")),
        until=times.parse(_one(section, "until")),
        ttl=times.span(_one(section, "ttl")),
        subdomains=read_bool(_one(section, "subdomains")),
    )


def _write_past(past: Iterable[Window]) -> dict[str, list[str]]:
    """The windows as lists of text, in order (see :func:`_read_past`)."""
    return {
        str(number): [
            _escaped(one.what),
            times.text(one.since),
            times.text(one.ended) if one.ended else "",
            times.text(one.until),
            *one.pins,
        ]
        for number, one in enumerate(past, 1)
    }


def _read_past(written: Mapping[str, list[str]]) -> tuple[Window, ...]:
    """Read what :func:`_write_past` wrote.

    :raises ValueError: for anything else
    """
    return tuple(_read_window(*values) for values in written.values())


def _read_window(what: str, since: str, ended: str, until: str, *pins: str) -> Window:
    _several(list(pins))
    end = times.parse(ended) if ended else None
    return Window(unquote(what), pins, times.parse(since), end, times.parse(until))


def _escaped(text: str) -> str:
    # A list in the file can hold no value that has quotes of both kinds.
    return text.replace("%", "%25").replace('"', "%22")


def _several(value: object) -> tuple[str, ...]:
    """What a file has as a list of text; ConfigObj reads one of one item as that item.

    :raises ValueError: for anything else
    """
    found = tuple(value) if isinstance(value, list) else (value,)
    if not all(isinstance(one, str) for one in found):
        raise ValueError("a section is where a list of text has to be")
    return cast("tuple[str, ...]", found)


def _write_entry(entry: Entry) -> dict[str, str | list[str]]:
    policy = entry.policy
    return {
        "pins": list(policy.pins),
        "max_age": str(policy.max_age),
        "include_subdomains": str(policy.include_subdomains),
        "report_uri": policy.report_uri or "",
        "report_only": str(policy.report_only),
        "hosts": list(entry.hosts),
        "recorded": times.text(entry.recorded),
        "confirmed": times.text(entry.confirmed) if entry.confirmed else "",
        "replaced": times.text(entry.replaced) if entry.replaced else "",
    }


def read_entries(
    sections: Mapping[str, Mapping[str, str | list[str]]], ordered: bool = True
) -> tuple[Entry, ...]:
    """Read what :func:`write_entries` wrote.

    :param ordered: whether they are one keyring's, and follow each other
    :raises ValueError, KeyError, BadPolicy: when a section is not one of ours, or they contradict
        each other
    """
    entries = tuple(_read_entry(section) for section in sections.values())
    for entry in entries:
        known = [m for m in (entry.recorded, entry.confirmed, entry.replaced) if m is not None]
        if known != sorted(known):
            raise ValueError("a policy was replaced or confirmed before it was recorded")
    if ordered:
        _check_order(entries)
    return entries


def _check_order(entries: tuple[Entry, ...]) -> None:
    recorded = [entry.recorded for entry in entries]
    if recorded != sorted(recorded):
        raise ValueError("the policies are not in the order of time")
    if entries and entries[-1].replaced is not None:
        raise ValueError("the last policy was replaced by none")


def _read_entry(section: Mapping[str, str | list[str]]) -> Entry:
    def moment(name: str) -> datetime | None:
        written = _one(section, name)
        return times.parse(written) if written else None

    return Entry(
        Policy(
            pins=_several(section["pins"]),
            max_age=times.number(_one(section, "max_age"), _LONGEST_AGE),
            include_subdomains=read_bool(_one(section, "include_subdomains")),
            report_uri=_one(section, "report_uri") or None,
            report_only=read_bool(_one(section, "report_only")),
        ),
        recorded=times.parse(_one(section, "recorded")),
        confirmed=moment("confirmed"),
        replaced=moment("replaced"),
        hosts=_several(section["hosts"]),
    )


def read_bool(written: str) -> bool:
    """``True`` or ``False`` as :func:`str` writes them.

    :raises ValueError: for anything else
    """
    if written not in ("True", "False"):
        raise ValueError(f"neither True nor False: {written!r}")
    return written == "True"
