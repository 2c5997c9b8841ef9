"""Zones, and which name servers are authoritative for them. Needs dnspython.

The rules:

* The zone itself and the zone above it say which name servers it has. Each one that either of them names
  counts, at every address that its host has. The machine's resolver only finds them.
* If the resolver fails to tell one kind of a host's addresses, there may be others: that is told.
* An address without a route from here (IPv6, most often) is passed over if another one of its host answered.
* A name server may not answer, or not as an authority (AA), or for the zone above. Then the reason is told,
  and it is left alone.
* If the resolver tells of no zone above, as within a network of one's own, the zone itself is believed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import dns.exception
import dns.flags
import dns.name
import dns.rdatatype
from dns.message import Message
from dns.name import Name

from certbot_pinkeep.adapters.dns_session import Reply, Session, explained
from certbot_pinkeep.core.zone_observations import NameServer

#: So many hosts of the zone above are asked, until one answers.
_ABOVE = 4
#: So often, other name servers are asked that those name which were asked before.
_ROUNDS = 4
_ADDRESSES = (dns.rdatatype.A, dns.rdatatype.AAAA)


@dataclass
class Zone:
    """A zone, and where it is served.

    :ivar hosts: the names of its name servers, with their addresses
    :ivar failed: the addresses that are left alone, and why
    :ivar unrouted: those of them without a route from here
    :ivar unresolved: the name servers of which not all addresses are known, and why
    :ivar error: why its name servers are not all known, as a part of a sentence
    """

    name: Name
    hosts: dict[Name, set[str]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    unrouted: set[str] = field(default_factory=set)
    unresolved: dict[Name, str] = field(default_factory=dict)
    error: str = ""

    def servers(self) -> Iterator[NameServer]:
        """Yield each address of each of its hosts, once, with why it is left alone."""
        told: set[str] = set()
        for host, addresses in sorted(self.hosts.items()):
            answers = addresses - set(self.failed)
            for address in sorted(addresses - self.unrouted if answers else addresses) or [""]:
                if address not in told or not address:
                    told.add(address)
                    error = self.failed.get(address, "") if address else "it has no address"
                    yield NameServer(plain(host), address, None, error, text(self.name))
            if addresses and host in self.unresolved:
                error = f"its addresses are not all known: {self.unresolved[host]}"
                yield NameServer(plain(host), "", None, error, text(self.name))

    def answering(self) -> set[str]:
        """Return the addresses of name servers that answer."""
        return {one for some in self.hosts.values() for one in some} - set(self.failed)


def name_of(text: str) -> Name | None:
    """Read a name; ``None``: no zone can have it."""
    try:
        return dns.name.from_text(text)
    except (dns.exception.DNSException, UnicodeError):
        return None


def text(name: Name) -> str:
    """Write a name in lower case, with a dot at its end."""
    return str(name.to_text()).lower()


def plain(name: Name) -> str:
    """Write a name in lower case, without a dot at its end."""
    return str(name.to_text(omit_final_dot=True)).lower()


def not_authoritative(reply: Reply, zone: Zone) -> str:
    """Return why an answer does not count, as a part of a sentence; empty: it does."""
    if not reply.message:
        return reply.error
    if not reply.told:
        return f"it does not answer for {text(zone.name)}: {explained(reply)}"
    if not reply.message.flags & dns.flags.AA:
        return f"it is not authoritative for {text(zone.name)}"
    if not reply.message.answer and _answers_for(reply.message) - {zone.name}:
        return f"it does not have the zone {text(zone.name)}, and answers for the one above"
    return ""


def _answers_for(message: Message) -> set[Name]:
    """Return the zone whose SOA record an answer has that there is nothing (RFC 2308 §3)."""
    return {one.name for one in message.authority if one.rdtype == dns.rdatatype.SOA}


class Zones:
    """The zones that were found in a session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._delegated: dict[Name, Reply] = {}
        self._zones: dict[Name, Zone] = {}
        self._unresolved: dict[Name, str] = {}

    def of(self, name: Name) -> Zone:
        """Return the zone that a name is in; one with an error, if it was not found."""
        apex, error = self._apex(name)
        return self._zones[apex] if apex else Zone(name, error=error)

    def find(self, names: Iterable[Name]) -> None:
        """Find the zones that names are in, and the name servers of each."""
        wanted = {one for name in names for one in upwards(name)} - set(self._delegated)
        self._delegated |= self._session.all(
            wanted, lambda one: self._session.ask_resolver(one, dns.rdatatype.NS, check=False)
        )
        found = {self._apex(name)[0] for name in names} - set(self._zones)
        zones = [Zone(apex) for apex in found if apex]
        above = {zone.name: self._above(zone.name) for zone in zones}
        named = {one: self._named(one) for one in (*above, *above.values()) if one}
        addresses = self._addresses(
            [
                host
                for one, hosts in named.items()
                for host in (hosts if one in above else hosts[:_ABOVE])
            ]
        )
        for zone in zones:
            zone.hosts = {host: addresses[host] for host in named[zone.name]}
            zone.unresolved = self._unresolved
            self._zones[zone.name] = zone
        asked = {
            apex: [one for host in named[parent][:_ABOVE] for one in sorted(addresses[host])]
            for apex, parent in above.items()
            if parent
        }
        told = self._session.all(asked, lambda apex: self._first(apex, asked[apex]))
        for apex, reply in told.items():
            _add_delegation(self._zones[apex], reply, above[apex])
        self._greet(zones)

    def _apex(self, name: Name) -> tuple[Name | None, str]:
        """Return the closest name upwards that has name servers, or why it is not known."""
        for one in upwards(name):
            reply = self._delegated.get(one, Reply())
            if not reply.told:
                return None, reply.error
            if self._named(one):
                return one, ""
        return None, "the resolver tells of no name servers"

    def _above(self, apex: Name) -> Name | None:
        """Return the zone above; ``None``: the resolver tells of none."""
        return self._apex(apex.parent())[0] if apex != dns.name.root else None

    def _named(self, apex: Name) -> list[Name]:
        message = self._delegated[apex].message
        return _hosts(message, apex) if message else []

    def _addresses(self, hosts: Iterable[Name]) -> dict[Name, set[str]]:
        wanted = [(host, kind) for host in hosts for kind in _ADDRESSES]
        replies = self._session.all(
            wanted, lambda one: self._session.ask_resolver(*one, check=False)
        )
        found: dict[Name, set[str]] = {host: set() for host, _ in wanted}
        for (host, _), reply in replies.items():
            if not reply.told:
                self._unresolved[host] = reply.error
            elif reply.message:
                found[host] |= {
                    one.address
                    for rrset in reply.message.answer
                    if rrset.rdtype in _ADDRESSES
                    for one in rrset
                }
        return found

    def _first(self, apex: Name, addresses: list[str]) -> Reply:
        """Return what the first of the name servers says that says anything."""
        reply = Reply(error="they have no address")
        for address in addresses:
            reply = self._session.ask(apex, dns.rdatatype.NS, address)
            if reply.told:
                break
        return reply

    def _greet(self, zones: Iterable[Zone]) -> None:
        """Ask each name server which ones its zone has, and those as well that only it names."""
        asked: set[tuple[Name, str]] = set()
        for _ in range(_ROUNDS):
            new = {(zone.name, address) for zone in zones for address in zone.answering()} - asked
            replies = self._session.all(
                new, lambda one: self._session.ask(one[0], dns.rdatatype.NS, one[1])
            )
            asked |= new
            more: dict[Name, Zone] = {}
            for (apex, address), reply in replies.items():
                zone = self._zones[apex]
                error = not_authoritative(reply, zone)
                if error:
                    zone.failed[address] = error
                    zone.unrouted |= set() if reply.routed else {address}
                elif reply.message:
                    hosts = _hosts(reply.message, apex)
                    more |= {host: zone for host in hosts if host not in zone.hosts}
            for host, addresses in self._addresses(more).items():
                more[host].hosts[host] = addresses


def upwards(name: Name) -> Iterator[Name]:
    """Yield a name, and the names above it up to the root."""
    while name != dns.name.root:
        yield name
        name = name.parent()
    yield name


def _hosts(message: Message, apex: Name) -> list[Name]:
    """Return the name servers of a zone that an answer names."""
    return [
        one.target
        for rrset in (*message.answer, *message.authority)
        if rrset.rdtype == dns.rdatatype.NS and rrset.name == apex
        for one in rrset
    ]


def _add_delegation(zone: Zone, reply: Reply, above: Name | None) -> None:
    """Add the name servers, and their addresses, that the zone above names."""
    if not (reply.told and reply.message and above):
        why = reply.error or explained(reply)
        zone.error = (
            f"the name servers of {text(above) if above else 'no zone'} do not answer: {why}"
        )
        return
    for host in _hosts(reply.message, zone.name):
        zone.hosts.setdefault(host, set())
    for rrset in reply.message.additional:
        if rrset.rdtype in _ADDRESSES and rrset.name in zone.hosts:
            zone.hosts[rrset.name] |= {one.address for one in rrset}
