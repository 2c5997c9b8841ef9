"""The keyring file's format: a keyring's state as text, and read from it again. Pure.

The rules:

* The file is ConfigObj, as certbot's own renewal files are.
* The first line is the SHA-256 of all that follows: a file that was cut short or edited is
  damaged, and what is damaged is not guessed at (G8).
* A file that contradicts itself is damaged as well.
* A file of an earlier format is read as the same in today's (see ``earlier_formats``). One of a later
  format is not read at all: what it says there may be what forbids a rollover.
* No field is left out, and none is filled in: what is missing is damage.
* The tables at the end name each field once, and how it is written and read.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, cast
from urllib.parse import unquote

import configobj

from certbot_pinkeep.core import times
from certbot_pinkeep.core.errors import PinkeepError
from certbot_pinkeep.core.holdings import Entry, Holding, Release, ZoneEntry
from certbot_pinkeep.core.keyring import Key, Keyring, Member
from certbot_pinkeep.core.kinds import KeyKind
from certbot_pinkeep.core.ledger import Ledger, Uncertainty
from certbot_pinkeep.core.pem import CURVES
from certbot_pinkeep.core.pins import is_pin
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.core.state import State
from certbot_pinkeep.core.tlsa import read_port
from certbot_pinkeep.core.zone import Service
from certbot_pinkeep.storage import earlier_formats

#: The format that is written; this and every earlier one is read.
VERSION = 3
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
Fields = Mapping[str, "_Field"]
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
    keyring, ledger = state.keyring, state.ledger
    head = {
        **vars(state),
        "keyring": keyring.name,
        "rollover_days": keyring.rollover_days,
        "latest_known": ledger.latest_known,
    }
    try:
        body = _TITLE + b"".join(
            (
                f"version = {VERSION}\n".encode(),
                _lines(_written(_HEAD, head)),
                b"[uncertain]\n",
                _lines(_written(_UNCERTAIN, vars(ledger.uncertain)) if ledger.uncertain else {}),
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
    fields = _FIELDS[type(item)]
    more: dict[str, object] = {}
    if isinstance(item, Member):
        # In few lines: there may be hundreds of lineages, and all is written anew with each change.
        neighbour = () if item.enrolled else (_NEIGHBOUR,)
        more = {"key": (item.pin, item.loaded or "", item.transferred, *neighbour)}
    elif isinstance(item, Key):
        more = {"type": item.kind.key_type, "kind": item.kind.detail}
    elif isinstance(item, Release):
        more = {"release": (_escaped(item.channel), _escaped(item.label))}
    elif isinstance(item, Entry):
        more = vars(item.policy)
    return _written(fields, {**vars(item), **more})


def _written(fields: Fields, values: Mapping[str, Any]) -> Section:
    return {name: field.write(values[name]) for name, field in fields.items()}


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
    head = _values(_HEAD, parsed)
    if head["keyring"] != name:
        raise ValueError(f"it is the file of the keyring {head['keyring']}")
    keyring = Keyring(
        name,
        tuple(map(_read_member, parsed["lineages"].values())),
        tuple(map(_read_key, parsed["keys"].values())),
        head["rollover_days"],
    )
    _check(keyring)
    return State(
        keyring,
        _read_ledger(parsed, head["latest_known"]),
        head["snippet"],
        head["tested"],
        head["unpin"],
        head["saved"],
        {option: _text(value) for option, value in parsed["options"].items()},
        tuple(Service(**_values(_SERVICE, section)) for section in parsed["ports"].values()),
    )


def _values(fields: Fields, section: Read) -> dict[str, Any]:
    return {name: field.read(section[name]) for name, field in fields.items()}


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
    version = times.number(_text(parsed["version"]), _MOST_VERSION)
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


def _read_member(section: Read) -> Member:
    values = _values(_MEMBER, section)
    pin, loaded, transferred, *more = values["key"]
    if more not in ([], [_NEIGHBOUR]):
        raise ValueError(f"not what a lineage is: {more!r}")
    return Member(values["lineage"], values["hosts"], pin, loaded or None, transferred, not more)


def _read_key(section: Read) -> Key:
    values = _values(_KEY, section)
    key_type, detail = values.pop("type"), values.pop("kind")
    if not (key_type == "rsa" and times.number(detail, _MOST_BITS)) and not (
        key_type == "ecdsa" and detail in CURVES
    ):
        raise ValueError(f"not a kind of key: {key_type} {detail}")
    return Key(kind=KeyKind(key_type, detail), **values)


# The ledger


def _read_ledger(parsed: Read, latest_known: datetime | None) -> Ledger:
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
        latest_known,
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


def _read_uncertainty(section: Read) -> Uncertainty | None:
    if not section:
        return None
    found = Uncertainty(**_values(_UNCERTAIN, section))
    if found.until is None and not found.cause:
        raise ValueError("what is uncertain has neither a cause nor an end")
    return found


def read_holdings(sections: Mapping[str, Read]) -> tuple[Holding, ...]:
    """Read policies and releases in sections that :func:`section_of` made.

    :raises ValueError, KeyError, BadPolicy: if a section is not one of ours
    """
    return tuple(map(_read_holding, sections.values()))


def _read_holding(section: Read) -> Holding:
    if "release" in section:
        values = _values(_RELEASE, section)
        channel, label = values.pop("release")
        return Release(channel=unquote(channel), label=unquote(label), **values)
    values = _values(_RECORDS if "port" in section else _ENTRY, section)
    known = [values[name] for name in _TIMES if values[name] is not None]
    if known != sorted(known):
        raise ValueError("a policy was replaced or confirmed before it was recorded")
    if "port" in section:
        return ZoneEntry(**values)
    policy = Policy(**{name: values.pop(name) for name in _POLICY})
    return Entry(policy, **values)


def _escaped(text: str) -> str:
    # A list in the file can hold no value that has quotes of both kinds.
    return text.replace("%", "%25").replace('"', "%22")


# Values


class _Field(NamedTuple):
    """How a value is written, and read again; reading raises ValueError for what was not written."""

    write: Callable[[Any], str | list[str]]
    read: Callable[[object], Any]


def _text(written: object) -> str:
    if not isinstance(written, str):
        raise ValueError("a list or a section is where a text has to be")
    return written


def _several(written: object) -> tuple[str, ...]:
    """Return a list of text; ConfigObj reads one of one item as that item."""
    return tuple(map(_text, written if isinstance(written, list) else (written,)))


def _pin(written: object) -> str:
    if not is_pin(_text(written)):
        raise ValueError(f"not a pin: {written!r}")
    return _text(written)


def read_bool(written: object) -> bool:
    """``True`` or ``False`` as :func:`str` writes them.

    :raises ValueError: for anything else
    """
    if written not in ("True", "False"):
        raise ValueError(f"neither True nor False: {written!r}")
    return written == "True"


def _or_none(field: _Field) -> _Field:
    """Return the field of a value that may be missing, which is written as nothing."""
    return _Field(
        lambda value: "" if value is None else field.write(value),
        lambda written: None if written == "" else field.read(written),
    )


def _number(most: int) -> _Field:
    return _Field(str, lambda written: times.number(_text(written), most))


def _one_of(*known: str) -> _Field:
    def read(written: object) -> str:
        if written not in known:
            raise ValueError(f"none of {', '.join(filter(None, known))}: {written!r}")
        return _text(written)

    return _Field(str, read)


def _days(written: object) -> int | None:
    return None if written == "never" else times.number(_text(written), _MOST_DAYS)


_TEXT = _Field(str, _text)
_FLAG = _Field(str, read_bool)
_LIST = _Field(list, _several)
_PINS = _Field(list, lambda written: tuple(map(_pin, _several(written))))
_TIME = _Field(times.text, lambda written: times.parse(_text(written)))
_SPAN = _Field(
    lambda value: str(round(value.total_seconds())), lambda written: times.span(_text(written))
)
_PORT = _Field(
    lambda port: [port.host, str(port.number), port.start],
    lambda written: read_port(*_several(written)),
)

# Each section's fields, in their order


_HEAD: Fields = {
    "keyring": _TEXT,
    "saved": _number(_MOST_SAVED),
    "rollover_days": _Field(lambda days: "never" if days is None else str(days), _days),
    "unpin": _FLAG,
    "snippet": _TEXT,
    "tested": _TEXT,
    "latest_known": _or_none(_TIME),
}
_UNCERTAIN: Fields = {"why": _TEXT, "until": _or_none(_TIME), "cause": _one_of("", "doubt")}
_MEMBER: Fields = {"lineage": _TEXT, "key": _LIST, "hosts": _LIST}
_KEY: Fields = {
    "pin": _Field(str, _pin),
    "type": _TEXT,
    "kind": _TEXT,
    "role": _one_of("primary", "backup", "in-service", "retired", "compromised"),
    "path": _or_none(_TEXT),
    "encrypted": _TEXT,
    "added": _FLAG,
    "created": _TIME,
    "first_served": _or_none(_TIME),
    "last_served": _or_none(_TIME),
    "retire_reason": _one_of("", "asked", "revoked", "lost"),
    "forced": _FLAG,
}
_TIMES: Fields = {"recorded": _TIME, "confirmed": _or_none(_TIME), "replaced": _or_none(_TIME)}
_POLICY: Fields = {
    "pins": _LIST,
    "max_age": _number(_LONGEST_AGE),
    "include_subdomains": _FLAG,
    "report_uri": _or_none(_TEXT),
    "report_only": _FLAG,
}
_ENTRY: Fields = {**_POLICY, "hosts": _LIST, **_TIMES}
_RECORDS: Fields = {"port": _PORT, "pins": _PINS, "ttl": _SPAN, **_TIMES}
_RELEASE: Fields = {
    "release": _LIST,
    "pins": _LIST,
    "hosts": _LIST,
    "recorded": _TIME,
    "until": _TIME,
    "ttl": _SPAN,
    "subdomains": _FLAG,
}
_SERVICE: Fields = {"port": _PORT, "pins": _PINS, "seen": _or_none(_TIME)}
_FIELDS: Mapping[type, Fields] = {
    Member: _MEMBER,
    Key: _KEY,
    Entry: _ENTRY,
    ZoneEntry: _RECORDS,
    Release: _RELEASE,
    Service: _SERVICE,
}
