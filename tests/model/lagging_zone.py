"""A zone on name servers that lag, the resolvers that ask them, and the ports that mail comes to.

The rules:

* A resolver may ask any process of any name server at any time, and keeps the answer for its TTL. All
  resolvers that there could be are known by what was shown last when: a set of records is held by
  somebody until it was last shown plus its TTL; twice that if a forwarder hands answers on as if they
  were new. That is more than any real set of resolvers does.
* A mail client that holds a set refuses a port that serves a key outside it: that is a lockout.
* A secondary has what the primary had once. It may lag for ever; its looks show it.
* A process may go back to an older zone between two looks, as late as ``holdings`` allows for. Later than
  that, nobody could know of it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache

from certbot_pinkeep.core.holdings import SETTLING
from certbot_pinkeep.core.kinds import KeyKind, KeyType
from certbot_pinkeep.core.tlsa import Port, TlsaRecord, record_of
from certbot_pinkeep.core.zone_observations import (
    NameServer,
    Records,
)
from simulated.visitors import LockedOut

BEGIN = datetime(2030, 1, 1, tzinfo=timezone.utc)
HOST = "mail.pin.test"
PORTS = (Port(HOST, 25, "smtp"), Port(HOST, 465), Port(HOST, 993))
KINDS: dict[KeyType, KeyKind] = {
    "ecdsa": KeyKind("ecdsa", "secp256r1"),
    "rsa": KeyKind("rsa", "2048"),
}
#: An authority that certifies all keys of this world, one that certifies none, and a whole certificate.
CA, OTHER_CA = TlsaRecord(2, 1, 1, "ab" * 32), TlsaRecord(2, 1, 1, "ba" * 32)
WHOLE = TlsaRecord(3, 0, 1, "cd" * 32)
TTL = 3600
NOTHING: Records = frozenset()
#: Seconds that each of pinkeep's steps takes.
STEP = 3.0


@lru_cache(maxsize=4096)
def pin_of(name: str) -> str:
    """The pin of the key of this name."""
    return base64.b64encode(hashlib.sha256(name.encode()).digest()).decode()


FOREIGN = pin_of("foreign")


@lru_cache(maxsize=65536)
def accepts(records: Records, pin: str) -> bool:
    """Whether a client that holds these records accepts this key (RFC 7671 §5.1, RFC 7672 §2.2)."""
    return not records or CA in records or record_of(pin) in records


@dataclass(frozen=True)
class Shown:
    """The records of one port, as one version of the zone has them."""

    records: Records = NOTHING
    ttl: int = TTL


@dataclass(frozen=True)
class Scene:
    """How a world is made.

    :ivar primary_is_asked: whether the primary is one of the zone's name servers
    :ivar processes: of each name server behind its one address; the first is the primary's
    :ivar notified: whether secondaries follow the primary at once, as long as nothing keeps them
    :ivar writes: whether pinkeep has credentials
    :ivar forwarder: whether a forwarder hands answers on as if they were new
    :ivar ttl: the one that pinkeep writes with
    :ivar before: what the zone has before pinkeep comes
    :ivar foreign_ports: those that serve a foreign key at the start
    """

    ports: int = 2
    addresses: int = 1
    processes: tuple[int, ...] = (1, 1)
    primary_is_asked: bool = True
    notified: bool = False
    writes: bool = True
    forwarder: bool = False
    types: tuple[KeyType, ...] = ("ecdsa",)
    backups: int = 2
    rollover_days: int | None = None
    ttl: int = TTL
    before: Shown = Shown()
    foreign_ports: tuple[int, ...] = ()


@dataclass
class Server:
    """A name server: by process, the number of the version that it shows."""

    name: NameServer
    processes: list[int]
    reachable: bool = True
    stuck: bool = False


class LaggingZone:
    """A zone, its name servers, and everybody who ever asked them; ports, and the keys that they serve."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.time = 0.0
        self.ports = PORTS[: scene.ports]
        first = dict.fromkeys(self.ports, scene.before)
        self.versions: list[dict[Port, Shown]] = [first]
        #: When each version was shown last by a process that had not gone back.
        self.shown: list[float] = [0.0]
        self.servers = [
            Server(NameServer(f"ns{n}.pin.test", f"192.0.2.{n}", 1), [0] * many)
            for n, many in enumerate(scene.processes, 1)
        ]
        #: Until when somebody holds a set of records.
        self.held: dict[tuple[Port, Records], float] = {}
        #: The pins of the keys that each port serves, by the number of its address.
        self.served: dict[tuple[Port, int], tuple[str, ...]] = {}

    @property
    def zone(self) -> dict[Port, Shown]:
        """What the primary has."""
        return self.versions[-1]

    @property
    def chain(self) -> int:
        """For how many TTLs a client may hold what a resolver got."""
        return 2 if self.scene.forwarder else 1

    @property
    def asked(self) -> list[Server]:
        """The name servers that the zone names."""
        return self.servers if self.scene.primary_is_asked else self.servers[1:] or self.servers

    # Time, resolvers, clients

    def passes(self, hours: float) -> None:
        """Time passes, while resolvers ask and clients send."""
        self._ask_all()
        self.time += hours * 3600
        self._ask_all()

    def _ask_all(self) -> None:
        """Whatever any process shows now, somebody gets."""
        current = {version for server in self.servers for version in server.processes}
        for version in current:
            self.shown[version] = self.time
        for version in {version for server in self.asked for version in server.processes}:
            self._ask(version)
        self.check()

    def _ask(self, version: int) -> None:
        for port, shown in self.versions[version].items():
            if shown.records:
                key = port, shown.records
                until = self.time + self.chain * shown.ttl
                self.held[key] = max(until, self.held.get(key, 0.0))

    def check(self) -> None:
        """No client is locked out.

        :raises LockedOut: if one is
        """
        self.held = {key: until for key, until in self.held.items() if until > self.time}
        for (port, records), until in self.held.items():
            for address in range(self.scene.addresses):
                for pin in self.served[port, address]:
                    if not accepts(records, pin):
                        raise LockedOut(
                            f"{port} serves {pin}, held until {until}: {sorted(records)}"
                        )

    def _all_accept(self, port: Port, pins: Iterable[str]) -> bool:
        held = [records for (one, records) in self.held if one == port]
        held += [version[port].records for version in self.versions[self._oldest() :]]
        return all(accepts(records, pin) for records in held for pin in pins)

    def _oldest(self) -> int:
        return min(version for server in self.servers for version in server.processes)

    # Name servers

    def transfer(self, server: int, process: int) -> None:
        """A process of a name server gets the zone from the primary."""
        one = self.servers[server % len(self.servers)]
        one.processes[process % len(one.processes)] = len(self.versions) - 1
        self._ask_all()

    def lags(self, server: int, stuck: bool) -> None:
        """A secondary does not follow the primary any more, or does again."""
        if server % len(self.servers):
            self.servers[server % len(self.servers)].stuck = stuck
            self._notify()

    def reach(self, server: int, reachable: bool) -> None:
        """A name server answers pinkeep, or does not; resolvers have their answers from it."""
        self.servers[server % len(self.servers)].reachable = reachable

    def goes_back(self, server: int, age: int, waits: bool) -> None:
        """A process restarts with the zone that it once had, and transfers the new one minutes later.

        :param waits: whether it does so as late as may be
        """
        one = self.servers[server % len(self.servers)]
        gone = [n for n in range(min(one.processes)) if self._may_come_back(n) > self.time]
        if one not in self.asked or not gone:
            return
        number = gone[age % len(gone)]
        if waits:
            self.passes((self._may_come_back(number) - self.time) / 3600 - 0.001)
        self._ask(number)
        self.check()

    def _may_come_back(self, version: int) -> float:
        """Until when a process may go back to a version."""
        spare = SETTLING.total_seconds()
        if not self.scene.forwarder:
            spare += min(one.ttl for one in self.versions[version].values())
        return self.shown[version] + spare

    def _publish(self, port: Port, shown: Shown) -> None:
        self._ask_all()
        self.versions.append({**self.zone, port: shown})
        self.shown.append(self.time)
        self.servers[0].processes[0] = len(self.versions) - 1
        self._notify()

    def _notify(self) -> None:
        if self.scene.notified:
            for server in self.servers:
                if not server.stuck:
                    server.processes[:] = [len(self.versions) - 1] * len(server.processes)
        self._ask_all()
