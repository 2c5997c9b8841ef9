"""The keyring file: a keyring's state and ledger, kept whole (ConfigObj, like certbot's own).

The rules:

* The first line is the SHA-256 of all that follows: a file that was cut short or edited is
  damaged, and what is damaged is not guessed at (G8).
* A file that contradicts itself is damaged as well.
* Only whole new versions are moved into place (G5), with mode 0600.
* Each version has a number. Where the witness below the work dir has a higher one, the file was
  lost or an older one put back: what the witness has is used then, in doubt (G8).
* A file that other users can change, or that is below a folder of which that is true, is not believed.
* Commands, and the folder for the snippet, never come out of a copy.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

import configobj

from certbot_pinkeep.core import ledger, times
from certbot_pinkeep.core.errors import DamagedState, PinkeepError, UnreadableState, UntrustedState
from certbot_pinkeep.core.keyring import Key, Keyring, Leave, Member, Role
from certbot_pinkeep.core.kinds import KeyKind, KeyType
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.options import HEADERS
from certbot_pinkeep.core.pem import CURVES
from certbot_pinkeep.core.pins import is_pin
from certbot_pinkeep.core.state import State
from certbot_pinkeep.storage import atomic
from certbot_pinkeep.storage.shadow import Shadow

logger = logging.getLogger(__name__)

VERSION = "1"
_ROLES = ("primary", "backup", "in-service", "retired", "compromised")
_LEAVES = ("", "asked", "revoked", "lost")
_NEIGHBOUR = "neighbour"
_CHECKSUM = "checksum = "
#: No number in a file is larger than what pinkeep writes; nothing has to reckon with such a one.
_MOST_DAYS, _MOST_SAVED, _MOST_BITS = 36500, 10**12, 65536
#: Options by which root runs something, or writes somewhere.
_COMMANDS = ("configtest-command", "reload-command", "snippet-dir")


class Store:
    """The keyring files of one config dir.

    :param config_dir: certbot's ``--config-dir``
    :param work_dir: certbot's ``--work-dir``; ``None``: without a witness
    """

    def __init__(self, config_dir: str, work_dir: str | None = None) -> None:
        self.witness = Shadow(work_dir, config_dir) if work_dir else None
        self.folder = os.path.join(config_dir, "pinkeep")
        self._loaded: dict[str, tuple[object, State | None]] = {}
        self._known: dict[str, tuple[object, list[State]]] = {}

    def path(self, name: str) -> str:
        """The file of the keyring *name*."""
        return os.path.join(self.folder, f"{name}.conf")

    def paths(self, name: str) -> list[str]:
        """The file of the keyring *name*, and its copy."""
        return [self.path(name), *([self.witness.path(name)] if self.witness else [])]

    def names(self) -> list[str]:
        """The keyrings that have a file, or a copy of a lost one, sorted."""
        try:
            listed = os.listdir(self.folder)
        except (FileNotFoundError, NotADirectoryError):
            listed = []
        own = {name[: -len(".conf")] for name in listed if name.endswith(".conf")}
        return sorted(own.union(self.witness.names() if self.witness else ()))

    def load(self, name: str) -> State | None:
        """The state of the keyring *name*; ``None`` when it has no file, and had none.

        :raises DamagedState: when the file cannot be trusted
        """
        # With hundreds of lineages on one keyring, most of the time would go into reading it again.
        stamp = [_stamp(path) for path in self.paths(name)]
        known = self._loaded.get(name)
        if known is None or known[0] != stamp:
            known = self._loaded[name] = (stamp, self._load(name))
        return known[1]

    def _load(self, name: str) -> State | None:
        content = self._content(name)
        own = self._read(name, content) if content is not None else None
        copy = self._copy(name, content)
        if copy is None or (own is not None and own.saved >= copy.saved):
            return own
        path = self.path(name)
        why = f"{path} was lost" if own is None else f"an older {path} was put back"
        # Apache may have loaded what was put back.
        others = [entry.policy for entry in own.ledger.entries if not entry.replaced] if own else []
        copy = self._without_commands(copy, own)
        return replace(copy, ledger=copy.ledger.doubted(why, others))

    def _without_commands(self, copy: State, own: State | None) -> State:
        """What a copy has, with the commands of the file itself."""
        name = copy.keyring.name
        settings = {n: value for n, value in copy.settings.items() if n not in _COMMANDS}
        settings |= {n: v for n, v in (own.settings if own else {}).items() if n in _COMMANDS}
        for option in sorted(copy.settings.keys() - settings.keys()):
            logger.warning(
                "pinkeep restored the keyring %s from its copy, without --pinkeep-%s: commands and "
                "folders are not taken from a copy. Run: certbot renew --installer pinkeep "
                "--pinkeep-%s %s",
                name,
                option,
                option,
                shlex.quote(copy.settings[option]),
            )
        snippet = own.snippet if own else ""
        if copy.snippet in [os.path.join(self.folder, one, f"{name}.conf") for one in HEADERS]:
            snippet = copy.snippet
        return replace(copy, settings=settings, snippet=snippet)

    def known(self, name: str) -> list[State]:
        """What the file and its copy say, where each can be read; nothing follows from it for
        sure."""
        stamp = [_stamp(path) for path in self.paths(name)]
        known = self._known.get(name)
        if known is None or known[0] != stamp:
            known = self._known[name] = (stamp, self._all_of(name, stamp))
        return known[1]

    def _all_of(self, name: str, stamp: object) -> list[State]:
        loaded = self._loaded.get(name)
        if loaded is not None and loaded[0] == stamp and loaded[1] and not loaded[1].ledger.doubt:
            return [loaded[1]]  # the copy says no more
        found, content = [], None
        with suppress(DamagedState):
            content = self._content(name)
            found += [self._read(name, content)] if content is not None else []
        copy = self._copy(name, content if found else None)
        return [*found, *([copy] if copy else [])]

    def _content(self, name: str) -> bytes | None:
        # The owner of the config dir can have certbot run anything: renewal hooks are there.
        owner = _owner(os.path.dirname(self.folder))
        try:
            return atomic.read_closed(self.path(name), atomic.LARGE, owner)
        except atomic.ExposedFile as error:
            everything = atomic.all_exposed([self.path(name), *self._below()], owner)
            mend = atomic.mend_all(everything, self.folder)
            raise UntrustedState(self.path(name), str(error.found), mend) from error
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UnreadableState(self.path(name), error) from error

    def _below(self) -> list[str]:
        """What is in the folder: keyring files, snippets and their folders."""
        found = []
        for folder, folders, names in os.walk(self.folder):
            found += [os.path.join(folder, one) for one in sorted((*folders, *names))]
        return found

    def _read(self, name: str, content: bytes) -> State:
        try:
            return read(name, content)
        except Exception as error:  # whatever a file makes the library raise
            why = f"is damaged ({error})" if isinstance(error, ValueError) else "is damaged"
            raise DamagedState(self.path(name), why) from error

    def _copy(self, name: str, own: bytes | None) -> State | None:
        """What the witness has, where that differs from the file."""
        content = self.witness.read(name) if self.witness else None
        try:
            return None if content is None or content == own else read(name, content)
        except Exception:
            return None  # a witness that nobody needs to mend

    def save(self, state: State) -> State:
        """Write the state; what was there before is replaced.

        :returns: the state as it is saved
        :raises OSError: when it cannot be written; the old state is still there then
        """
        state = replace(state, saved=state.saved + 1)
        content = write(state)
        atomic.make_folder(self.folder, 0o755)
        atomic.replace(self.path(state.keyring.name), content, 0o600)
        if self.witness:
            self.witness.copy(state.keyring.name, content)
        name = state.keyring.name
        self._loaded[name] = ([_stamp(path) for path in self.paths(name)], state)
        return state

    def mend_copy(self, name: str) -> None:
        """Write the copy of a keyring file anew where it is gone: the next loss would not be noticed."""
        if self.witness and self.witness.read(name) is None:
            with suppress(DamagedState):
                content = self._content(name)
                if content is not None:
                    self.witness.copy(name, content)

    def spread(self, keyring: Keyring) -> None:
        """Note the keys that are compromised in every other keyring that has them: lineages that
        move take theirs along.

        :raises OSError: when that cannot be written
        """
        pins = [key.pin for key in keyring.keys if key.role == "compromised"]
        for name in self.names() if pins else ():
            with suppress(DamagedState):
                old = None if name == keyring.name else self.load(name)
                new = old
                for pin in pins:
                    new = new.with_revoked(pin, True) if new else None
                if new is not None and new != old:
                    self.save(new)

    def tick(self, now: datetime) -> None:
        """Have it witnessed that *now* has been reached."""
        if self.witness:
            self.witness.tick(now)

    def set_clock(self, now: datetime) -> None:
        """Have it witnessed that *now* is now, whatever was witnessed before."""
        if self.witness:
            self.witness.set_clock(now)

    def latest_known(self, now: datetime) -> datetime:
        """*now*, or a later moment that was witnessed: the clock was set back then."""
        latest = self.witness.latest() if self.witness else None
        return max(now, latest) if latest else now

    def keyring_of(self, lineage: str, likely: str = "") -> str | None:
        """The keyring that this lineage draws on; damaged files are passed over.

        :param likely: where to look first
        """
        return next((n for n in self._in_order(likely or lineage) if self.has(n, lineage)), None)

    def has(self, name: str, lineage: str) -> bool:
        """Whether the lineage draws on the keyring *name*; not, where its file is damaged."""
        with suppress(DamagedState):
            state = self.load(name)
            return state is not None and any(m.lineage == lineage for m in state.keyring.drawing)
        return False

    def may_have_had(self, lineage: str, remembered: Mapping[str, str]) -> bool:
        """Whether a lineage that pinkeep renews may have been pinned before: not, where the keyring
        that its renewal file names has never had it. Certbot notes that before it is let in.

        :param remembered: the options in its renewal file
        """
        named = remembered.get("keyring")
        return named is None or not self.lacks(named, lineage)

    def lacks(self, name: str, lineage: str) -> bool:
        """Whether there is a keyring *name* that can be trusted, and it has no such lineage."""
        with suppress(DamagedState):
            state = self.load(name)
            member = state.keyring.member(lineage) if state else None
            return state is not None and (member is None or not member.enrolled)
        return False

    def values(
        self,
        lineage: str,
        given: Mapping[str, object],
        remembered: Mapping[str, str],
        by_host: Callable[[], str | None] | None = None,
    ) -> dict[str, object]:
        """The options that count for a lineage: those given for it, else what certbot remembers of
        it, else what counts for its keyring. What is remembered from before it joins does not count.

        :param given: by their names without ``--pinkeep-``; ``None``: not given
        :param remembered: what its renewal file has
        :param by_host: finds the keyring of its hosts, where none is named for it and none has it
        """
        named = given.get("keyring")
        named = remembered.get("keyring") if named is None else named
        if named is None:
            named = self.keyring_of(lineage) or (by_host() if by_host else None) or lineage
        keyring = str(named)
        state = None
        with suppress(DamagedState):
            state = self.load(keyring)
        if state is not None and not self.has(keyring, lineage):
            # It joins: certbot remembers these from another keyring, or from nowhere.
            given = {n: None if str(v) == remembered.get(n) else v for n, v in given.items()}
            remembered = {}
        settings = state.settings if state else {}
        values = {
            name: remembered.get(name, settings.get(name)) if value is None else value
            for name, value in given.items()
        }
        values["keyring"] = None if keyring == lineage else keyring
        return values

    def _in_order(self, likely: str) -> Iterator[str]:
        if likely:
            yield likely  # mostly it is this one, and the others need not be listed
        yield from (name for name in self.names() if name != likely)

    def check_all(self) -> None:
        """See that every keyring file can be trusted.

        :raises DamagedState: for the first one that cannot
        """
        for name in self.names():
            self.load(name)

    def locked(self) -> AbstractContextManager[None]:
        """Hold the lock on all keyring files."""
        atomic.make_folder(self.folder, 0o755)
        return atomic.locked(self.folder)


def _owner(path: str) -> list[int]:
    try:
        return [os.stat(path).st_uid]
    except OSError:
        return []


def _stamp(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_mode)


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
    content["ledger"] = ledger.write(state.ledger.entries)
    content["inherited"] = ledger.write(state.ledger.inherited)
    content["releases"] = ledger.write_releases(state.ledger.releases)
    content["over"] = ledger.write_releases(state.ledger.over)
    content["past"] = ledger.write_past(state.ledger.past)
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
            ledger.read(parsed["ledger"]),
            _read_moment(parsed["blind_until"]),
            _read_moment(parsed["seen"]),
            _one(parsed, "doubt"),
            times.span(_one(parsed, "longest")),
            ledger.read(parsed["inherited"], ordered=False),
            ledger.read_releases(parsed["releases"]),
            ledger.read_past(parsed["past"]),
            ledger.read_releases(parsed.get("over", {})),
        ),
        _one(parsed, "snippet"),
        _one(parsed, "tested"),
        ledger.read_bool(parsed["unpin"]),
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
            *(member.pin, member.loaded or "", member.moved),
            *(() if member.enrolled else (_NEIGHBOUR,)),
        ],
        "hosts": list(member.hosts),
    }


def _read_member(section: Mapping[str, Any]) -> Member:
    pin, loaded, moved, *more = ledger.several(section["key"])
    if more not in ([], [_NEIGHBOUR]):
        raise ValueError(f"not what a lineage is: {more!r}")
    hosts = ledger.several(section["hosts"])
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
        "leave": key.leave,
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
        leave=cast(Leave, section["leave"]),
        forced=ledger.read_bool(section["forced"]),
        last_served=_read_moment(section["last_served"]),
        added=ledger.read_bool(section["added"]),
        encrypted=_one(section, "encrypted"),
    )


def _read_kind(key_type: str, detail: str) -> KeyKind:
    if not (key_type == "rsa" and times.number(detail, _MOST_BITS)) and not (
        key_type == "ecdsa" and detail in CURVES
    ):
        raise ValueError(f"not a kind of key: {key_type} {detail}")
    return KeyKind(cast(KeyType, key_type), detail)
