"""What the tests with real name servers have: a zone, and a world in which it is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import dns.update
import requests

from certbot_pinkeep.adapters import dns as zones
from certbot_pinkeep.adapters import name_servers
from certbot_pinkeep.core.tlsa import Port, TlsaRecord
from certbot_pinkeep.core.zone_observations import OwnerObservation
from lab.name_servers import Bind, Internet, Server, Signer, Zone
from lab.namespace import Namespace

FIRST, SECOND = "127.0.1.1", "127.0.1.2"
#: What is imported late. Here it is imported once, not in each process that is forked.
IMPORTED = (dns.update, requests, name_servers)
OLD, NEW = TlsaRecord(3, 1, 1, "aa" * 32), TlsaRecord(3, 1, 1, "bb" * 32)
HOST = "mail.example.test"
OWNER = f"_25._tcp.{HOST}."
TTL = 600


def line(record: TlsaRecord, owner: str = OWNER, ttl: int = TTL) -> str:
    """Write a record as a zone file has it."""
    return f"{owner} {ttl} TLSA {record}"


def example(
    *lines: str,
    servers: Mapping[str, Sequence[str]] | None = None,
    name: str = "example.test",
    serial: int = 1,
) -> Zone:
    """A zone with two name servers, as far as nothing else is said."""
    both = {f"ns1.{name}": [FIRST], f"ns2.{name}": [SECOND]}
    return Zone(name, both if servers is None else servers, lines, serial)


class Network:
    """Name servers, and the machine that looks at them."""

    def __init__(self, folder: Path, running: ExitStack) -> None:
        self.folder = folder
        self._running = running
        self.ns = running.enter_context(Namespace())
        self.signer = Signer(self.ns, folder / "keys")

    def start(self, server: Server) -> Server:
        """Start a name server, which ends with the test."""
        return self._running.enter_context(server)

    def serve(
        self, address: str, *zones: tuple[Zone, Path], name: str = "", options: str = ""
    ) -> Server:
        """Start a BIND that serves zones as files have them.

        :param options: further statements for its options
        """
        statements = [Bind.served(zone, file) for zone, file in zones]
        folder = self.folder / (name or address)
        return self.start(Bind(self.ns, folder, [address], statements, options=options))

    def open(self, *zones: Zone, ds: Sequence[str] = (), **how: bool) -> Internet:
        """Make zones known to the machine's resolver, which is started.

        :param how: as :class:`~lab.name_servers.Internet` has it
        """
        return self._running.enter_context(Internet(self.ns, self.folder, zones, ds, **how))

    def look(self, *numbers: int, host: str = HOST) -> list[OwnerObservation]:
        """Look at the records of ports as pinkeep does."""
        ports = [Port(host, number) for number in numbers or (25,)]
        return self.ns.call(zones.look, ports)
