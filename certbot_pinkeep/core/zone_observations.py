"""What name servers and ports showed, and what is to become of records: values only. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from certbot_pinkeep.core.dane import Chain
from certbot_pinkeep.core.tlsa import Port, TlsaRecord

Records = frozenset[TlsaRecord]


@dataclass(frozen=True)
class NameServer:
    """An address of an authoritative name server of a zone, as it was seen.

    :ivar name: its host's name, without a dot at its end
    :ivar address: the IP address that was asked; empty: the host has none
    :ivar serial: the zone's serial (SOA) that it showed, the oldest one; ``None``: none
    :ivar error: why it could not be asked, or not all that often, as a part of a sentence; empty: it could
    :ivar zone: the zone, with a dot at its end: that of the records, or of an alias that leads to them
    """

    name: str
    address: str
    serial: int | None = None
    error: str = ""
    zone: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.address})" if self.address else self.name


@dataclass(frozen=True)
class Answer:
    """The records of one port, as a name server showed them at least once.

    :ivar records: all of them, of whatever usage; empty: it has none
    :ivar ttl: the largest that it showed with these, in seconds
    """

    server: NameServer
    records: Records
    ttl: int


@dataclass(frozen=True)
class Security:
    """What is known of the zone's DNSSEC signatures at one name (RFC 4035).

    :ivar signed: whether the authoritative name servers sign the records
    :ivar valid: whether a validating resolver found them valid; ``None``: no resolver here validates
    :ivar why: what is wrong, or why it is not known, as a part of a sentence
    :ivar expires: when the first of the signatures ends
    """

    signed: bool
    valid: bool | None = None
    why: str = ""
    expires: datetime | None = None


@dataclass(frozen=True)
class OwnerObservation:
    """What all authoritative name servers showed of one port's records.

    :ivar name: the name that has the records: the port's own, or the one that an alias (CNAME) leads to,
        with a dot at its end
    :ivar zone: the zone that this name is in, with a dot at its end; empty: it was not found
    :ivar servers: every address of every authoritative name server, also of the zones that an alias is in
    :ivar answers: each set of records that a server showed, once for each server
    :ivar resolver: what the machine's own resolver has, perhaps an older set; ``None``: it gave no answer
    :ivar error: why the name servers could not be found, as a part of a sentence; empty: they were
    """

    port: Port
    name: str
    zone: str = ""
    servers: tuple[NameServer, ...] = ()
    answers: tuple[Answer, ...] = ()
    security: Security = Security(False)
    resolver: Records | None = None
    error: str = ""

    @property
    def errors(self) -> tuple[str, ...]:
        """Why it is not known what all name servers show; empty: it is known (G13)."""
        if self.error:
            return (self.error,)
        answered = {(one.server.name, one.server.address) for one in self.answers}
        # A name server of another zone shows the alias that leads here, and no records.
        silent = [
            f"{one}: {one.error or 'it gave no answer'}"
            for one in self.servers
            if one.error
            or (one.zone in ("", self.zone) and (one.name, one.address) not in answered)
        ]
        return tuple(silent) if self.servers else ("no name server was found",)

    @property
    def sets(self) -> tuple[tuple[Records, int], ...]:
        """Each set of records that any server showed, and the largest TTL it had, in seconds."""
        found: dict[Records, int] = {}
        for one in self.answers:
            found[one.records] = max(one.ttl, found.get(one.records, 0))
        return tuple(found.items())

    @property
    def agreed(self) -> Records | None:
        """The one set that every server showed, whenever it was asked; ``None``: there is none."""
        sets = self.sets
        return sets[0][0] if len(sets) == 1 and not self.errors else None


@dataclass(frozen=True)
class MailHost:
    """An MX host of a domain.

    :ivar domain: without a dot at its end; so is the host
    :ivar records: whether it has TLSA records for port 25; ``None``: that is not known
    """

    domain: str
    host: str
    records: bool | None


@dataclass(frozen=True)
class PortObservation:
    """What one port showed over TLS, at one address of its host.

    :ivar address: the IP address; empty: the host has none
    :ivar pins: the pins of the certificates that it showed, of each type of key that it has
    :ivar error: why it showed none, or not all that it may have, as a part of a sentence; empty: it did
    :ivar chains: the certificates themselves, with those of their authorities
    :ivar routed: whether this machine has a route to the address
    """

    port: Port
    address: str
    pins: tuple[str, ...] = ()
    error: str = ""
    chains: tuple[Chain, ...] = field(default=(), compare=False)
    routed: bool = True

    @property
    def where(self) -> str:
        """The port, and the address."""
        return f"{self.port} ({self.address})" if self.address else str(self.port)


@dataclass(frozen=True)
class Change:
    """What is to become of the TLSA records at one name.

    :ivar name: the name that has the records, with a dot at its end
    :ivar before: all TLSA records that are there; the change is made only if they still are
    :ivar after: all TLSA records that are to be there; empty: none
    :ivar ttl: of the records after the change, in seconds
    """

    name: str
    before: Records
    after: Records
    ttl: int
