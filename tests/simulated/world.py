"""A machine on a clock of its own, and all clients there could be."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from itertools import count
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from certbot_pinkeep.adapters import clock, revocation
from certbot_pinkeep.carriers import apache, running
from certbot_pinkeep.core.errors import PinkeepError
from certbot_pinkeep.core.kinds import KeyKind
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.storage import keyring_file, keys_and_csrs
from simulated.kill import Killed, Killer
from simulated.machine import Lineages, register
from simulated.values import pem_of, pin_of_key
from simulated.visitors import LockedOut, Served, Visitors

BEGIN = datetime(2030, 1, 1, tzinfo=timezone.utc)
#: How long the server's commands take: all the while the earlier configuration is served.
COMMAND = timedelta(seconds=7)
#: The same files are read again and again: each content is parsed once.
_READ = lru_cache(maxsize=512)(keyring_file.read)


class World(Lineages):
    """One machine, and everybody who ever visited one of its hosts.

    :ivar time: the true time
    :ivar kill_after: after how many steps that change the disk the next process is killed
    :ivar answer: what the CA says of the live certificates
    :ivar compromised: the pins of keys that were ever on record as known to others
    :ivar loaded: what Apache serves, by lineage
    :ivar visitors: everybody who ever visited one of its hosts
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.time = BEGIN
        self.kill_after: int | None = None
        self.killer = Killer(None)
        self.answer = revocation.Answer(None)
        self.compromised: set[str] = set()
        self.loaded: dict[str, Served] = {}
        self.visitors = Visitors()
        self.make_key = numbered_keys()
        #: What a bystander sees, who reads a file again if it changed.
        self._seen = self.workflow.store
        register(self.apache.configtest, self._tests)
        register(self.apache.reload, self._reloads)

    def serves(self) -> dict[str, Served]:
        """What Apache would serve if it was reloaded now."""
        raise NotImplementedError

    # What happens

    def passes(self, time: timedelta) -> None:
        """Time passes; clients visit all the while."""
        self.time += time
        self._visits()

    def reload(self) -> None:
        """Apache is reloaded; without pinkeep's doing it is not told."""
        self.loaded = self.serves()
        self._visits()

    def issue(self, name: str, key: bytes | None = None, hosts: tuple[str, ...] = ()) -> str:
        """Make a certificate live. A kill between its own links leaves certbot a broken lineage: that is
        not ours to prove."""
        key = key or self.make_key(KeyKind("ecdsa", "secp256r1"))
        with self.killer.asleep():
            self.put_live(name, key, hosts or (name,), self.time)
        return pin_of_key(key)

    def look_for_compromised(self, keyring: str) -> None:
        """What is on record as compromised has to stay so."""
        for state in self._seen.known(keyring):
            self.compromised |= {key.pin for key in state.keyring.keys if key.role == "compromised"}

    # What must hold

    def check(self) -> None:
        """No client is locked out; what is served is sound.

        :raises LockedOut: when one is
        """
        for name, served in self.loaded.items():
            policy = served.policy
            if policy is not None and policy.binding and not self.is_excused(served):
                assert served.pin in policy.pins, f"the header lacks the key of {name}"
                assert len(policy.pins) >= 2, "a header without a backup"
            for held, host, until in self.visitors.refuse(served, self.time):
                if not self.was_told(served, held, until):
                    what = f"{held} of {host} is held until {until}"
                    raise LockedOut(f"{name} serves {served.pin}, {what}")

    def is_excused(self, served: Served) -> bool:
        """Whether nobody could have known of a key that is served."""
        return False

    def was_told(self, served: Served, held: Policy, until: datetime) -> bool:
        """Whether it was said before that these clients would be locked out."""
        return False

    # How it happens

    def _visits(self) -> None:
        for served in self.loaded.values():
            self.visitors.visit(served, self.time)
        self.check()
        self.visitors.forget(self.time)

    @contextlib.contextmanager
    def process(self) -> Iterator[None]:
        """A process: it may refuse with an error, and be killed."""
        killer = self.killer = Killer(self.kill_after)
        self.kill_after = None
        with pytest.MonkeyPatch.context() as patch, killer.at_work():
            for owner, name, instead in (
                (keyring_file, "read", _READ),
                (keys_and_csrs, "make_key", self.make_key),
                (apache, "which", lambda program: program),
                (running, "ask", lambda words: (0, "")),
                (revocation, "look", lambda *_: self.answer),
                (clock, "seconds", lambda: self.time.timestamp()),
            ):
                patch.setattr(owner, name, instead)
            with contextlib.suppress(Killed, PinkeepError):
                yield
        self.check()

    def _tests(self) -> tuple[int, str]:
        self.passes(COMMAND)
        return 0, ""

    def _reloads(self) -> tuple[int, str]:
        self.passes(COMMAND)
        self.reload()
        return 0, ""


def numbered_keys() -> Callable[[KeyKind], bytes]:
    """What makes keys in PEM: the same ones in the same order in each world, so that a history can be
    told again."""
    numbers = count(1)

    def make(kind: KeyKind) -> bytes:
        return _key(next(numbers), kind.detail)

    return make


@lru_cache(maxsize=4096)
def _key(number: int, curve: str) -> bytes:
    curves: dict[str, ec.EllipticCurve] = {"secp256r1": ec.SECP256R1(), "secp384r1": ec.SECP384R1()}
    return pem_of(ec.derive_private_key(number, curves[curve]))
