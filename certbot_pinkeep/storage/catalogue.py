"""Which keyrings have to do with a host, a lineage or a key, without reading all of them each time.

The rules:

* What a keyring file says is read once in a run, and again only if ``stat`` shows another file.
* The state of the folders of keyring files tells whether a file was added, removed or replaced: each file is
  replaced as a whole. If the state is the same, the files need not be looked at one by one.
* A folder that has just changed may change again without looking different. So it is believed only once it is
  quiet, or if the last change was pinkeep's own: that one is marked with a time of its own.
* Nothing is left out: a keyring that may bind anywhere, or that cannot be read, concerns everybody. What
  is found here is loaded, and looked at then; so is a keyring that is about to be saved.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from certbot_pinkeep.core.errors import DamagedState
from certbot_pinkeep.core.state import State

#: For how many nanoseconds a folder is not believed that somebody else changed.
_QUIET = 2 * 10**9


@dataclass(frozen=True)
class OnRecord:
    """What is on record of a keyring.

    :ivar stamp: its files, as ``stat`` sees them
    :ivar state: what counts; ``None``: there is no file, or it cannot be trusted
    :ivar states: what the file and its copy say, as far as they can be read
    :ivar damage: why the file cannot be trusted
    :ivar is_earlier: whether the file is in an earlier format
    """

    stamp: object
    state: State | None
    states: list[State]
    damage: DamagedState | None = None
    is_earlier: bool = False


@dataclass(frozen=True)
class _Facts:
    places: frozenset[str]
    lineages: frozenset[str]
    compromised: frozenset[str]
    anywhere: bool


class Catalogue:
    """The keyrings of one config dir by their hosts, their lineages and their compromised keys.

    :param folders: where their files and the copies are
    :param names: lists the keyrings
    :param look: tells what is on record of a keyring
    """

    def __init__(
        self,
        folders: Sequence[str],
        names: Callable[[], list[str]],
        look: Callable[[str], OnRecord],
    ) -> None:
        self._folders = folders
        self._names = names
        self._look = look
        self._stamps: dict[str, object] = {}
        self._facts: dict[str, _Facts] = {}
        self._by_place: dict[str, set[str]] = {}
        self._by_lineage: dict[str, set[str]] = {}
        self._compromised: dict[str, set[str]] = {}
        self._anywhere: set[str] = set()
        self._seen: object = None
        self._marks: set[int] = set()

    def near(self, names: Iterable[str]) -> list[str]:
        """Return the keyrings whose pins may bind at one of these names, sorted."""
        self._refresh()
        found = set(self._anywhere)
        for place in {place for name in names for place in _asked(name.lower())}:
            found |= self._by_place.get(place, set())
        return sorted(found)

    def of_lineage(self, lineage: str) -> list[str]:
        """Return the keyrings that may have a lineage, in whatever way, sorted."""
        self._refresh()
        return sorted(self._anywhere | self._by_lineage.get(lineage, set()))

    def is_compromised(self, pin: str) -> bool:
        """Return whether a key is known to be compromised, by any file or its copy."""
        self._refresh()
        return pin in self._compromised

    def is_current(self) -> bool:
        """Return whether nothing has changed since the keyrings were looked at."""
        return self._seen is not None and self._seen == self._state()

    def changed(self, *, current: bool, name: str = "", found: OnRecord | None = None) -> None:
        """Take over what pinkeep has just written, while it holds the lock.

        :param current: what :meth:`is_current` said before that
        :param name: of the keyring that was saved; empty: nothing that matters here was written
        """
        if found is not None:
            self._put(name, found)
        mark = time.time_ns()
        self._marks.add(mark)
        for folder in self._folders:
            with suppress(OSError):
                os.utime(folder, ns=(mark, mark))
        self._seen = self._state() if current else None

    def _refresh(self) -> None:
        if self.is_current():
            return
        state = self._state()
        names = self._names()
        for name in self._facts.keys() - set(names):
            self._drop(name)
        for name in names:
            found = self._look(name)
            if name not in self._facts or self._stamps[name] != found.stamp:
                self._put(name, found)
        self._seen = state

    def _state(self) -> object:
        """Return the folders as they are; ``None``: that says nothing."""
        found: list[object] = []
        now = time.time_ns()
        for folder in self._folders:
            try:
                seen = os.stat(folder)
            except OSError:
                found.append(None)
                continue
            if seen.st_mtime_ns not in self._marks and abs(now - seen.st_mtime_ns) < _QUIET:
                return None
            found.append((seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino, seen.st_mode))
        return found

    def _drop(self, name: str) -> None:
        facts = self._facts.pop(name, None)
        self._anywhere.discard(name)
        for index, keys in self._indexes(facts) if facts is not None else ():
            for key in keys:
                index[key].discard(name)
                if not index[key]:
                    del index[key]

    def _put(self, name: str, found: OnRecord) -> None:
        self._drop(name)
        facts = self._facts[name] = _facts(found)
        self._stamps[name] = found.stamp
        if facts.anywhere:
            self._anywhere.add(name)
        for index, keys in self._indexes(facts):
            for key in keys:
                index.setdefault(key, set()).add(name)

    def _indexes(self, facts: _Facts) -> tuple[tuple[dict[str, set[str]], frozenset[str]], ...]:
        return (
            (self._by_place, facts.places),
            (self._by_lineage, facts.lineages),
            (self._compromised, facts.compromised),
        )


def _facts(found: OnRecord) -> _Facts:
    hosts, lineages, compromised = set[str](), set[str](), set[str]()
    anywhere = found.state is None or found.state.ledger.in_doubt
    for state in found.states:
        members, holdings = state.keyring.members, state.ledger.holdings
        lineages.update(member.lineage for member in members)
        hosts.update(host for member in members for host in member.hosts)
        hosts.update(host for one in holdings for host in one.hosts)
        compromised.update(key.pin for key in state.keyring.keys if key.role == "compromised")
        # What binds at no host in particular; and what goes on in the keyrings that lineages come from.
        anywhere |= not all(one.hosts for one in holdings)
        anywhere |= not all(entry.replaced for entry in state.ledger.imported)
    places = {place for host in hosts for place in _places(host.lower())}
    return _Facts(frozenset(places), frozenset(lineages), frozenset(compromised), anywhere)


def _places(host: str) -> tuple[str, str]:
    """Return where a host is found: by its own name, and by the wildcard that stands for it."""
    return host.removeprefix("*."), f"*.{host.partition('.')[2]}"


def _asked(name: str) -> list[str]:
    """Return where the hosts are found whose pins bind at a name: it, all above, and those that it stands
    for."""
    labels = name.removeprefix("*.").split(".")
    above = [".".join(labels[first:]) for first in range(len(labels))]
    return [*above, name] if name.startswith("*.") else above
