"""Keyring files: found, locked, loaded and saved. What is in them is in ``keyring_file``.

The rules:

* Only whole new versions are moved into place (G5), with mode 0600.
* Each version has a number. If the shadow has a higher one, the file was lost or an older one was put back:
  what the shadow has is used then, in doubt (G8).
* A file is not believed if other users can change it, or a folder above it.
* Commands, and the folder for the snippet, never come out of a copy.
"""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from datetime import datetime

from certbot_pinkeep.core.errors import DamagedState, NewerState, UnreadableState, UntrustedState
from certbot_pinkeep.core.holdings import Window
from certbot_pinkeep.core.keyring import Keyring
from certbot_pinkeep.core.options import HEADERS
from certbot_pinkeep.core.state import State
from certbot_pinkeep.storage import atomic, history, keyring_file, trust
from certbot_pinkeep.storage.catalogue import Catalogue, OnRecord
from certbot_pinkeep.storage.shadow import Shadow

logger = logging.getLogger(__name__)

#: Options by which root runs something, or writes somewhere.
_COMMANDS = ("configtest-command", "reload-command", "snippet-dir")


class Store:
    """The keyring files of one config dir.

    :param config_dir: certbot's ``--config-dir``
    :param work_dir: certbot's ``--work-dir``
    """

    def __init__(self, config_dir: str, work_dir: str) -> None:
        self.shadow = Shadow(work_dir, config_dir)
        self.folder = os.path.join(config_dir, "pinkeep")
        self._records: dict[str, OnRecord] = {}
        self._catalogue = Catalogue((self.folder, self.shadow.folder), self.names, self._on_record)

    def path(self, name: str) -> str:
        """Return the file of the keyring *name*."""
        return os.path.join(self.folder, f"{name}.conf")

    def history_path(self, name: str) -> str:
        """Return the history of the keyring *name*."""
        return os.path.join(self.folder, f"{name}.history")

    def paths(self, name: str) -> list[str]:
        """Return the file of the keyring *name*, and its copy."""
        return [self.path(name), self.shadow.path(name)]

    def names(self) -> list[str]:
        """Return the keyrings that have a file, or a copy of a lost one, sorted."""
        try:
            listed = os.listdir(self.folder)
        except (FileNotFoundError, NotADirectoryError):
            listed = []
        own = {name[: -len(".conf")] for name in listed if name.endswith(".conf")}
        return sorted(own.union(self.shadow.names()))

    def load(self, name: str) -> State | None:
        """Return the state of the keyring *name*; ``None`` when it has no file, and had none.

        :raises DamagedState: if the file cannot be trusted
        """
        found = self._on_record(name)
        if found.damage is not None:
            raise found.damage
        return found.state

    def _on_record(self, name: str) -> OnRecord:
        # With hundreds of lineages on one keyring, most of the time would go into reading it again.
        stamp = self._stamp(name)
        known = self._records.get(name)
        if known is not None and known.stamp == stamp:
            return known
        found = self._read_all(name, stamp)
        if found.damage is None:  # why a file is not believed may be mended without touching it
            self._records[name] = found
        return found

    def _read_all(self, name: str, stamp: object) -> OnRecord:
        content = own = copy = None
        damage: DamagedState | None = None
        try:
            content = self._content(name)
            own = self._read(name, self.path(name), content) if content is not None else None
        except DamagedState as error:
            damage = error
        try:
            copy = self._copy(name, content)
        except DamagedState as error:
            damage = damage or error
        if own is not None and copy is not None and own.saved >= copy.saved:
            copy = None
        states = [state for state in (own, copy) if state is not None]
        if damage is not None:
            return OnRecord(stamp, None, states, damage)
        is_earlier = content is not None and keyring_file.is_earlier(content)
        state = self._contradicted(name, own, copy) if copy is not None else own
        return OnRecord(stamp, state, states, is_earlier=is_earlier)

    def _contradicted(self, name: str, own: State | None, copy: State) -> State:
        """Return what a copy has that is newer than the file."""
        path = self.path(name)
        why = f"{path} was lost" if own is None else f"an older {path} was put back"
        # Apache may have loaded what was put back.
        others = [entry.policy for entry in own.ledger.entries if not entry.replaced] if own else []
        copy = self._without_commands(copy, own)
        return replace(copy, ledger=copy.ledger.contradicted(why, others))

    def _without_commands(self, copy: State, own: State | None) -> State:
        """Return what a copy has, with the commands of the file itself."""
        name = copy.keyring.name
        settings = {n: value for n, value in copy.settings.items() if n not in _COMMANDS}
        settings |= {n: v for n, v in (own.settings if own else {}).items() if n in _COMMANDS}
        for option in sorted(copy.settings.keys() - settings.keys()):
            logger.warning(
                "pinkeep restored the keyring %s from its copy, without --pinkeep-%s. It takes no commands "
                "and no folders from a copy.\nRun: certbot-pinkeep pin %s --%s %s",
                name,
                option,
                shlex.quote(copy.keyring.example),
                option,
                shlex.quote(copy.settings[option]),
            )
        snippet = own.snippet if own else ""
        if copy.snippet in [os.path.join(self.folder, one, f"{name}.conf") for one in HEADERS]:
            snippet = copy.snippet
        return replace(copy, settings=settings, snippet=snippet)

    def known(self, name: str) -> list[State]:
        """Return what the file and its copy say, as far as they can be read; nothing follows from it for
        sure."""
        return self._on_record(name).states

    def near(self, names: Iterable[str]) -> list[str]:
        """Return the keyrings whose pins may bind at one of these names, sorted. Some of them may not."""
        return self._catalogue.near(names)

    def is_compromised(self, pin: str) -> bool:
        """Return whether any keyring file, or its copy, says that a key is compromised."""
        return self._catalogue.is_compromised(pin)

    def _stamp(self, name: str) -> object:
        """Return the files of a keyring, as ``stat`` sees them."""
        return [atomic.stamp(path) for path in self.paths(name)]

    def _content(self, name: str) -> bytes | None:
        owner = self._owner()
        try:
            return atomic.read_closed(self.path(name), owner)
        except trust.ExposedFile as error:
            everything = trust.all_exposed([self.path(name), *self._below()], owner)
            mend = trust.mend_all(everything, self.folder)
            raise UntrustedState(self.path(name), str(error.found), mend) from error
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UnreadableState(self.path(name), error) from error

    def _below(self) -> list[str]:
        """Return what is in the folder: keyring files, snippets and their folders."""
        found = []
        for folder, folders, names in os.walk(self.folder):
            found += [os.path.join(folder, one) for one in sorted((*folders, *names))]
        return found

    def _read(self, name: str, path: str, content: bytes) -> State:
        try:
            return keyring_file.read(name, content)
        except keyring_file.NewerFormat as error:
            # What it says may be what forbids a rollover.
            raise NewerState(path, error.version, keyring_file.VERSION) from error
        except Exception as error:  # whatever a file makes the library raise
            why = f"is damaged ({error})" if isinstance(error, ValueError) else "is damaged"
            raise DamagedState(path, why) from error

    def _copy(self, name: str, own: bytes | None) -> State | None:
        """Return what the shadow has, if that differs from the file."""
        content = self.shadow.read(name)
        if content is None or content == own:
            return None
        try:
            return self._read(name, self.shadow.path(name), content)
        except NewerState:
            raise
        except DamagedState:
            return None  # a shadow that nobody needs to mend

    def save(self, state: State) -> State:
        """Write the state; what was there before is replaced.

        :returns: the state as it is saved
        :raises OSError: if it cannot be written; the old state is still there then
        """
        state = replace(state, saved=state.saved + 1)
        name = state.keyring.name
        content = keyring_file.write(state)
        current = self._catalogue.is_current()
        atomic.make_folder(self.folder, 0o755)
        atomic.replace(self.path(name), content, 0o600)
        self.shadow.copy(name, content)
        self._add_to_history(state)
        found = self._records[name] = OnRecord(self._stamp(name), state, [state])
        self._catalogue.changed(current=current, name=name, found=found)
        return state

    def _add_to_history(self, state: State) -> None:
        """Add what expired since to the keyring's history."""
        name, past = state.keyring.name, state.ledger.past
        before = self._records.get(name)
        known = before.state if before is not None and not before.is_earlier else None
        if past and (known is None or known.ledger.past != past):
            noted = set(self.history(name))
            history.add(self.history_path(name), (one for one in past if one not in noted))

    def history(self, name: str) -> tuple[Window, ...]:
        """Return what expired of the keyring *name*, as far as its history has it."""
        return history.read(self.history_path(name), self._owner())

    def mend(self, name: str) -> None:
        """Bring the file of a keyring to today's format. If its copy is gone, write it anew: else the next
        loss goes unseen."""
        state = self.load(name)
        if state is not None and self._on_record(name).is_earlier:
            self.save(state)
        if self.shadow.read(name) is None:
            with suppress(DamagedState):
                content = self._content(name)
                if content is not None:
                    self.shadow.copy(name, content)

    def spread(self, keyring: Keyring) -> None:
        """Note the keys that are compromised in every other keyring that has them: lineages that
        move take theirs along.

        :raises OSError: if that cannot be written
        """
        pins = [key.pin for key in keyring.keys if key.role == "compromised"]
        for name in self.names() if pins else ():
            with suppress(DamagedState):
                old = None if name == keyring.name else self.load(name)
                new = old
                for pin in pins:
                    new = new.with_revoked(pin, compromised=True) if new else None
                if new is not None and new != old:
                    self.save(new)

    def tick(self, now: datetime) -> None:
        """Note in the shadow that *now* has been reached."""
        current = self._catalogue.is_current()
        if self.shadow.tick(now):
            self._catalogue.changed(current=current)

    def set_clock(self, now: datetime) -> None:
        """Note in the shadow that *now* is now, whatever it has."""
        self.shadow.set_clock(now)

    def latest_known(self, now: datetime) -> datetime:
        """Return the latest known time: *now*, or a later one if the clock was set back."""
        latest = self.shadow.latest()
        return max(now, latest) if latest else now

    def keyring_of(self, lineage: str, likely: str = "") -> str | None:
        """Return the keyring that this lineage draws on; damaged files are passed over.

        :param likely: where to look first
        """
        likely = likely or lineage
        if self.has(likely, lineage):  # mostly it is this one
            return likely
        return next((name for name in self.of_lineage(lineage) if self.has(name, lineage)), None)

    def of_lineage(self, lineage: str) -> list[str]:
        """Return the keyrings that may have a lineage, in whatever way, sorted."""
        return self._catalogue.of_lineage(lineage)

    def has(self, name: str, lineage: str) -> bool:
        """Return whether the lineage draws on the keyring *name*; if its file is damaged, it does not."""
        with suppress(DamagedState):
            state = self.load(name)
            drawing = state.keyring.drawing if state is not None else ()
            return any(m.lineage == lineage for m in drawing) and not self.is_deleted(lineage)
        return False

    def is_deleted(self, lineage: str) -> bool:
        """Return whether certbot has no such lineage (any more): neither its renewal file nor ``live/``
        is there."""
        files = (("renewal", f"{lineage}.conf"), ("live", lineage))
        config_dir = os.path.dirname(self.folder)
        return not any(os.path.exists(os.path.join(config_dir, *one)) for one in files)

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

    def _owner(self) -> list[int]:
        # The owner of the config dir can have certbot run anything: renewal hooks are there.
        with suppress(OSError):
            return [os.stat(os.path.dirname(self.folder)).st_uid]
        return []
