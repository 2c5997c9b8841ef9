"""A simulated zone with several name servers, ports that load late, and a machine that pins in both."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from certbot_pinkeep.adapters import lineage
from certbot_pinkeep.carriers.zones import Change
from certbot_pinkeep.core.errors import ZoneRefused
from certbot_pinkeep.core.tlsa import Port
from certbot_pinkeep.core.zone_observations import (
    Answer,
    NameServer,
    OwnerObservation,
    PortObservation,
    Records,
    Security,
)
from certbot_pinkeep.workflow import zone
from certbot_pinkeep.workflow.looks import Eyes
from certbot_pinkeep.workflow.zone import Outcome
from simulated.machine import Machine
from simulated.workflow import Workflow

#: A path that no test reads: the provider is simulated.
CREDENTIALS = "/etc/letsencrypt/rfc2136.ini"


class Zone:
    """What name servers have, by their names and the ports; a provider that changes all or one of them.

    :ivar silent: the name servers that do not answer
    :ivar refusal: why the provider refuses changes; empty: it takes them
    :ivar lagging: the name servers that do not get what is written
    :ivar died: raised once by the provider, before it writes
    :ivar security: what is known of its signatures
    """

    def __init__(self, *servers: str) -> None:
        self.servers: dict[str, dict[str, Records]] = {one: {} for one in servers or ("ns1",)}
        self.ttl = 3600
        self.silent: set[str] = set()
        self.refusal = ""
        self.lagging: set[str] = set()
        self.died: BaseException | None = None
        self.looks = 0
        self.written: list[Change] = []
        self.aliases: dict[str, str] = {}
        self.security = Security(True, True)

    def put(self, port: Port, *records: Records) -> None:
        """Enter records by hand, on every name server or on each its own."""
        for name, found in zip(self.servers, records * len(self.servers), strict=False):
            self.servers[name][self.name(port)] = found

    def clear(self) -> None:
        """Delete all records by hand."""
        for there in self.servers.values():
            there.clear()

    def name(self, port: Port) -> str:
        """The name that has the records of a port."""
        return self.aliases.get(port.owner, port.owner)

    def records(self, ports: Sequence[Port]) -> list[OwnerObservation]:
        """A look at the name servers."""
        self.looks += 1
        found = []
        for port in ports:
            name = self.name(port)
            servers = [
                NameServer(one, "192.0.2.1", 1, "it does not answer" if one in self.silent else "")
                for one in self.servers
            ]
            answers = [
                Answer(one, self.servers[one.name].get(name, frozenset()), self.ttl)
                for one in servers
                if not one.error
            ]
            found.append(
                OwnerObservation(
                    port, name, "example.com.", tuple(servers), tuple(answers), self.security
                )
            )
        return found

    def read(self, zone: str, names: Sequence[str]) -> Mapping[str, Records]:
        """The provider's interface."""
        first = next(iter(self.servers.values()))
        return {name: first.get(name, frozenset()) for name in names}

    def change(self, zone: str, changes: Sequence[Change]) -> None:
        """The provider's interface."""
        if self.died is not None:
            died, self.died = self.died, None
            raise died
        if self.refusal:
            raise ZoneRefused(self.refusal)
        for change in changes:
            assert self.read(zone, [change.name])[change.name] == change.before
            for server, there in self.servers.items():
                if server not in self.lagging:
                    there[change.name] = change.after
        self.written += changes


class KeptZone(Zone):
    """A zone whose records are in a file, so that what a fork writes is there after the fork."""

    def __init__(self, path: Path, *servers: str) -> None:
        super().__init__(*servers)
        self.path = path

    def change(self, zone: str, changes: Sequence[Change]) -> None:
        """The provider's interface."""
        super().change(zone, changes)
        self.path.write_bytes(pickle.dumps(self.servers))

    def load(self) -> None:
        """Take what another process wrote."""
        if self.path.exists():
            self.servers = pickle.loads(self.path.read_bytes())
            self.path.unlink()


class MailMachine(Machine):
    """One lineage, a zone, and ports that have loaded its certificate or not.

    :ivar loaded: what each port serves
    """

    def __init__(self, root: Path, name: str, ports: Sequence[Port], *servers: str) -> None:
        super().__init__(root)
        self.name, self.ports = name, tuple(ports)
        self.zone = Zone(*servers)
        self.loaded: dict[Port, tuple[str, ...]] = {}
        self.issue(name)
        self.reload(*ports)

    @property
    def workflow(self) -> Workflow:
        """A new one, whose eyes see this zone and these ports."""
        workflow = super().workflow
        workflow.eyes = self.eyes
        return workflow

    def eyes(self) -> Eyes:
        """How this zone and these ports are looked at."""
        return Eyes(self.zone.records, self.services, lambda path: self.zone, sleep=lambda _: None)

    def services(self, ports: Sequence[Port]) -> list[PortObservation]:
        """A look at the ports."""
        return [
            PortObservation(port, "192.0.2.25", self.loaded[port])
            if self.loaded.get(port)
            else PortObservation(port, "192.0.2.25", (), "it takes no connection")
            for port in ports
        ]

    @property
    def live(self) -> str:
        """The pin of the live key."""
        path = self.config / "live" / self.name / "cert.pem"
        return lineage.glance(str(path))[1]

    def reload(self, *ports: Port) -> None:
        """Have ports serve what is live."""
        self.loaded.update((port, (self.live,)) for port in ports)

    def step(self, now: datetime, **how: bool) -> Outcome | None:
        """What a run does with the zone."""
        return zone.bring_up_to_date(self.workflow, self.name, now, **how)

    def run(self, now: datetime, **values: object) -> Outcome | None:
        """A run: the lineage is brought up to date, and then its zone."""
        given: dict[str, Any] = {**self.given(), **values}
        self.keep(self.name, self.name, now, **given)
        return self.step(now)

    def given(self) -> dict[str, object]:
        """The options."""
        tlsa = ",".join(f"{port}/{port.start}" for port in self.ports)
        return {"header": "none", "tlsa": tlsa, "dns_credentials": CREDENTIALS}
