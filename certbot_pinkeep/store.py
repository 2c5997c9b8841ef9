"""The keyring file: a keyring's state and ledger, kept whole (ConfigObj, like certbot's own).

The rules:

* The first line is the SHA-256 of all that follows: a file that was cut short or edited is
  damaged, and what is damaged is not guessed at (G8).
* A file that contradicts itself is damaged as well.
* Only whole new versions are moved into place (G5), with mode 0600.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import configobj

from certbot_pinkeep import files, ledger, moments
from certbot_pinkeep.errors import DamagedState, PinkeepError
from certbot_pinkeep.keyring import Key, Keyring, Member, Role
from certbot_pinkeep.ledger import Ledger
from certbot_pinkeep.pins import CURVES, KeyKind, KeyType, is_pin

VERSION = "1"
_ROLES = ("primary", "backup", "in-service", "retired", "compromised")
_CHECKSUM = "checksum = "


@dataclass(frozen=True)
class State:
    """All that is remembered of a keyring.

    :ivar snippet: the file that its policy is published in; empty before the first time
    :ivar tested: SHA-256 (hex) of the snippet's text that passed Apache's test last
    """

    keyring: Keyring
    ledger: Ledger
    snippet: str = ""
    tested: str = ""


class Store:
    """The keyring files of one config dir.

    :param config_dir: certbot's ``--config-dir``
    """

    def __init__(self, config_dir: str) -> None:
        self.folder = os.path.join(config_dir, "pinkeep")
        self._members: dict[str, tuple[tuple[int, int], tuple[str, ...]]] = {}

    def path(self, name: str) -> str:
        """The file of the keyring *name*."""
        return os.path.join(self.folder, f"{name}.conf")

    def names(self) -> list[str]:
        """The keyrings that have a file, sorted."""
        try:
            listed = os.listdir(self.folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name[: -len(".conf")] for name in listed if name.endswith(".conf"))

    def load(self, name: str) -> State | None:
        """The state of the keyring *name*; ``None`` when it has no file.

        :raises DamagedState: when the file cannot be trusted
        """
        try:
            with open(self.path(name), "rb") as file:
                content = file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DamagedState(self.path(name), f"cannot be read ({error.strerror})") from error
        try:
            return read(name, content)
        except (ValueError, KeyError, TypeError, AttributeError, PinkeepError) as error:
            why = f"is damaged ({error})" if isinstance(error, ValueError) else "is damaged"
            raise DamagedState(self.path(name), why) from error

    def save(self, state: State) -> None:
        """Write the state; what was there before is replaced.

        :raises OSError: when it cannot be written; the old state is still there then
        """
        files.make_folder(self.folder, 0o755)
        files.replace(self.path(state.keyring.name), write(state), 0o600)

    def keyring_of(self, lineage: str) -> str | None:
        """The keyring that has this lineage; damaged files are passed over."""
        for name in self.names():
            if lineage in self._lineages(name):
                return name
        return None

    def check_all(self) -> None:
        """See that every keyring file can be trusted.

        :raises DamagedState: for the first one that cannot
        """
        for name in self.names():
            self.load(name)

    def locked(self) -> AbstractContextManager[None]:
        """Hold the lock on all keyring files."""
        files.make_folder(self.folder, 0o755)
        return files.locked(self.folder)

    def _lineages(self, name: str) -> tuple[str, ...]:
        try:
            found = os.stat(self.path(name))
        except OSError:
            return ()
        stamp = (found.st_mtime_ns, found.st_ino)
        known = self._members.get(name)
        if known is None or known[0] != stamp:
            try:
                state = self.load(name)
            except DamagedState:
                state = None
            lineages = tuple(m.lineage for m in state.keyring.members) if state else ()
            known = self._members[name] = (stamp, lineages)
        return known[1]


def write(state: State) -> bytes:
    """The state as the keyring file's content."""
    keyring = state.keyring
    content = configobj.ConfigObj(interpolation=False, encoding="utf-8")
    content["version"] = VERSION
    content["keyring"] = keyring.name
    content["snippet"] = state.snippet
    content["tested"] = state.tested
    blind = state.ledger.blind_until
    content["blind_until"] = moments.text(blind) if blind else ""
    content["seen"] = moments.text(state.ledger.seen) if state.ledger.seen else ""
    content["lineages"] = {str(n): _write_member(m) for n, m in enumerate(keyring.members, 1)}
    content["keys"] = {str(n): _write_key(k) for n, k in enumerate(keyring.keys, 1)}
    content["ledger"] = ledger.write(state.ledger)
    written = io.BytesIO()
    content.write(written)
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
    )
    _check(keyring)
    return State(
        keyring,
        Ledger(
            ledger.read(parsed["ledger"]),
            _read_moment(parsed["blind_until"]),
            _read_moment(parsed["seen"]),
        ),
        str(parsed["snippet"]),
        str(parsed["tested"]),
    )


def _read_moment(written: str) -> datetime | None:
    return moments.parse(written) if written else None


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
    return {
        "lineage": member.lineage,
        "hosts": list(member.hosts),
        "pin": member.pin,
        "loaded": member.loaded or "",
    }


def _read_member(section: Mapping[str, Any]) -> Member:
    hosts = section["hosts"]
    return Member(
        section["lineage"],
        tuple(hosts) if isinstance(hosts, list) else (hosts,),
        section["pin"],
        section["loaded"] or None,
    )


def _write_key(key: Key) -> dict[str, str]:
    return {
        "pin": key.pin,
        "type": key.kind.key_type,
        "kind": key.kind.detail,
        "role": key.role,
        "path": key.path or "",
        "created": moments.text(key.created),
        "first_served": moments.text(key.first_served) if key.first_served else "",
    }


def _read_key(section: Mapping[str, Any]) -> Key:
    if not is_pin(section["pin"]):
        raise ValueError(f"not a pin: {section['pin']!r}")
    if section["role"] not in _ROLES:
        raise ValueError(f"not a role: {section['role']!r}")
    return Key(
        pin=section["pin"],
        kind=_read_kind(section["type"], section["kind"]),
        role=cast(Role, section["role"]),
        path=section["path"] or None,
        created=moments.parse(section["created"]),
        first_served=_read_moment(section["first_served"]),
    )


def _read_kind(key_type: str, detail: str) -> KeyKind:
    if not (key_type == "rsa" and detail.isdigit()) and not (
        key_type == "ecdsa" and detail in CURVES
    ):
        raise ValueError(f"not a kind of key: {key_type} {detail}")
    return KeyKind(cast(KeyType, key_type), detail)
