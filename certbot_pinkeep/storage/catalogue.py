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
from collections.abc import Callable, Iterable, Iterator, Sequence
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


#: What keyrings are found by: what kind of thing it is, and which.
_Fact = tuple[str, str]
_ANYWHERE: _Fact = ("anywhere", "")


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
        self._facts: dict[str, set[_Fact]] = {}
        self._index: dict[_Fact, set[str]] = {}
        self._seen: object = None
        self._marks: set[int] = set()

    def near(self, names: Iterable[str]) -> list[str]:
        """Return the keyrings whose pins may bind at one of these names, sorted."""
        return self._with(("place", place) for name in names for place in _asked(name))

    def of_lineage(self, lineage: str) -> list[str]:
        """Return the keyrings that may have a lineage, in whatever way, sorted."""
        return self._with([("lineage", lineage)])

    def _with(self, facts: Iterable[_Fact]) -> list[str]:
        self._refresh()
        return sorted(set().union(*(self._index.get(fact, ()) for fact in (_ANYWHERE, *facts))))

    def is_compromised(self, pin: str) -> bool:
        """Return whether a key is known to be compromised, by any file or its copy."""
        self._refresh()
        return ("compromised", pin) in self._index

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
        for fact in self._facts.pop(name, ()):
            self._index[fact].discard(name)
            if not self._index[fact]:
                del self._index[fact]

    def _put(self, name: str, found: OnRecord) -> None:
        self._drop(name)
        self._stamps[name] = found.stamp
        self._facts[name] = set(_facts(found))
        for fact in self._facts[name]:
            self._index.setdefault(fact, set()).add(name)


def _facts(found: OnRecord) -> Iterator[_Fact]:
    if found.state is None or found.state.ledger.in_doubt:
        yield _ANYWHERE
    for state in found.states:
        members, holdings = state.keyring.members, state.ledger.holdings
        # What binds at no host in particular; and what goes on in the keyrings that lineages come from.
        if not all(one.hosts for one in holdings) or not all(
            entry.replaced for entry in state.ledger.imported
        ):
            yield _ANYWHERE
        for one in (*members, *holdings):
            for host in one.hosts:
                yield from (("place", place) for place in _places(host))
        yield from (("lineage", member.lineage) for member in members)
        yield from (
            ("compromised", key.pin) for key in state.keyring.keys if key.role == "compromised"
        )


def _places(host: str) -> tuple[str, str]:
    """Return where a host is found: by its own name, and by the wildcard that stands for it."""
    return host.removeprefix("*."), f"*.{host.partition('.')[2]}"


def _asked(name: str) -> list[str]:
    """Return where the hosts are found whose pins bind at a name: it, all above, and those that it stands
    for."""
    labels = name.removeprefix("*.").split(".")
    above = [".".join(labels[first:]) for first in range(len(labels))]
    return [*above, name] if name.startswith("*.") else above
