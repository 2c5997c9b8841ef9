"""What each authoritative name server shows of the records of ports. Needs dnspython.

The rules:

* Each address is asked eight times for each name: several processes may stand behind one address, and one of
  them may be stale. If it shows several serials, it is asked four times as often. All that was shown counts,
  and an error counts if it was seen once.
* An alias (CNAME) is followed, in the zone that it leads to. The name servers of all zones on the way count.
* If a port's host is an alias, clients first heed the records at the alias's target (RFC 7671 §7). If there
  may be any, and nobody looks there, it is not known what clients heed.
* A time to live (TTL) is the largest that was shown on the way. The one in a signature counts as well.
* Of several signatures of one set of records, the last to end counts; of several sets, the first.
* Whether the zone is valid, the machine's resolver says, if it validates at all. The resolver is asked only
  for that, for its own records, and for the way to the name servers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone

import dns.exception
import dns.flags
import dns.name
import dns.rdatatype
from dns.message import Message
from dns.name import Name
from dns.rdatatype import RdataType
from dns.rrset import RRset

from certbot_pinkeep.adapters.dns_session import Question, Reply, Session, explained, found_at
from certbot_pinkeep.adapters.dns_zones import Zone, Zones, name_of, not_authoritative, plain, text
from certbot_pinkeep.core.tlsa import Port, TlsaRecord
from certbot_pinkeep.core.zone_observations import (
    Answer,
    NameServer,
    OwnerObservation,
    Records,
    Security,
)

LOOKS, MANY_LOOKS = 8, 32
#: So many aliases are followed, one after the other.
_ALIASES = 8
_A, _TLSA, _SOA, _DNSKEY = (
    dns.rdatatype.A,
    dns.rdatatype.TLSA,
    dns.rdatatype.SOA,
    dns.rdatatype.DNSKEY,
)


def look(ports: Sequence[Port], seconds: float) -> list[OwnerObservation]:
    """Ask every authoritative name server for the records of ports, all at once."""
    names = {port: name_of(port.owner) for port in ports}
    with Session(seconds) as session:
        looks = _Looks(session)
        known = [name for name in names.values() if name]
        # First: a name server that limits its rate counts the looks, and then drops the resolver's questions.
        resolver = _Resolver(session, known)
        elsewhere = _elsewhere(session, ports)
        looks.take(known)
        seen = [
            _observation(port, name, looks, resolver)
            if name
            else OwnerObservation(port, port.owner, error="no zone can have so long a name")
            for port, name in names.items()
        ]
    return [replace(one, error=one.error or elsewhere.get(one.port, "")) for one in seen]


def _elsewhere(session: Session, ports: Sequence[Port]) -> dict[Port, str]:
    """Return the ports whose clients heed records at another name, and why, as a part of a sentence."""
    replies = session.all(
        [one.host for one in ports if name_of(one.owner)],
        lambda host: session.ask_resolver(dns.name.from_text(host), _A, check=False),
    )
    ends = {host: _end(one.message) for host, one in replies.items() if one.message}
    found = {one: replace(one, host=end) for one in ports if (end := ends.get(one.host))}
    owners = {
        one: owner for one in set(found.values()) - set(ports) if (owner := name_of(one.owner))
    }
    records = session.all(owners, lambda one: session.ask_resolver(owners[one], _TLSA, check=False))
    return {
        port: f"{port.host} is an alias (CNAME) of {other.host}, and {why}"
        for port, other in found.items()
        if (reply := records.get(other)) and (why := _heeded(other, reply))
    }


def _heeded(port: Port, reply: Reply) -> str:
    """Return what clients heed at the end of an alias, as a part of a sentence; empty: nothing."""
    if reply.error:
        return f"the records of {port} cannot be looked at, which clients heed first: {reply.error}"
    heeded = reply.message and reply.message.answer
    return f"clients heed the records of {port} first; pin that host instead" if heeded else ""


def _end(message: Message) -> str:
    """Return where the aliases lead to that an answer begins with; empty: it has none."""
    begin = name = message.question[0].name
    for _ in range(_ALIASES):
        aliases = found_at(message, name, dns.rdatatype.CNAME)
        name = next((one.target for one in aliases), name)
    return "" if name == begin else plain(name)


@dataclass(frozen=True)
class _Look:
    """What a name server showed of one name, once.

    :ivar alias: where an alias at this name leads to
    """

    records: Records = frozenset()
    alias: Name | None = None
    ttl: int = 0
    signed: bool = False


class _Looks:
    """All answers of authoritative name servers in a session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._replies: dict[tuple[Name, RdataType, str], list[Reply]] = {}
        self.zones = Zones(session)

    def take(self, names: Iterable[Name]) -> None:
        """Ask for the records at names, and where aliases lead to."""
        seen: set[Name] = set()
        waiting = set(names)
        for _ in range(_ALIASES):
            if not waiting:
                break
            self.zones.find(waiting)
            self._ask(waiting)
            seen |= waiting
            waiting = {alias for name in waiting for alias in self.aliases(name)} - seen

    def _ask(self, names: Iterable[Name]) -> None:
        names, questions = tuple(names), Counter[Question]()
        for name in names:
            zone = self.zones.of(name)
            for address in zone.answering():
                questions[name, _TLSA, address] = LOOKS
                if (zone.name, _SOA, address) not in self._replies:
                    questions[zone.name, _SOA, address] = LOOKS
                    questions[zone.name, _DNSKEY, address] = 1
        self._ask_all(questions)
        more = {
            (name, _TLSA, address): MANY_LOOKS - LOOKS
            for name in names
            for address in self.zones.of(name).answering()
            if len(self.serials(self.zones.of(name), address)) > 1
        }
        self._ask_all(Counter(more))

    def _ask_all(self, questions: Counter[Question]) -> None:
        for question, reply in self._session.ask_all(questions.elements()):
            self._replies.setdefault(question, []).append(reply)

    def replies(self, name: Name, kind: RdataType, address: str) -> list[Reply]:
        """Return the answers of one name server."""
        return self._replies.get((name, kind, address), [])

    def serials(self, zone: Zone, address: str) -> set[int]:
        """Return the serials of a zone that one name server showed."""
        return {
            one.serial
            for reply in self.replies(zone.name, _SOA, address)
            if reply.message
            for one in found_at(reply.message, zone.name, _SOA)
        }

    def aliases(self, name: Name) -> list[Name]:
        """Return where name servers said that an alias at a name leads to, sorted."""
        found = {
            _read(reply.message, name).alias
            for address in self.zones.of(name).answering()
            for reply in self.replies(name, _TLSA, address)
            if reply.message
        }
        return sorted(alias for alias in found if alias)


@dataclass
class _Seen:
    """What was seen on the way from a port's name to its records."""

    servers: list[NameServer] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    ttl: int = 0
    signed: list[bool] = field(default_factory=list)
    ends: list[datetime] = field(default_factory=list)

    def add(self, name: Name, zone: Zone, looks: _Looks) -> None:
        """Add what the name servers of a zone showed at one name."""
        found: list[tuple[NameServer, _Look]] = []
        for server in zone.servers():
            replies = looks.replies(name, _TLSA, server.address)
            serials = looks.replies(zone.name, _SOA, server.address)
            keys = looks.replies(zone.name, _DNSKEY, server.address)
            told = replace(
                server,
                serial=_oldest(looks.serials(zone, server.address)),
                error=server.error or _error(replies, zone) or _error([*serials, *keys], zone),
            )
            self.servers.append(told)
            messages = [one.message for one in replies if not not_authoritative(one, zone)]
            found += [(told, _read(message, name)) for message in messages if message]
            self.ends += [
                end
                for one in (*replies, *serials, *keys)
                if one.message
                for end in _ends(one.message)
            ]
        self.signed += [one.signed for _, one in found]
        largest: dict[tuple[NameServer, Records], int] = {}
        for server, one in found:
            if one.alias is None:
                key = (server, one.records)
                largest[key] = max(one.ttl, self.ttl, largest.get(key, 0))
        self.answers += [Answer(server, records, ttl) for (server, records), ttl in largest.items()]
        self.ttl = max([self.ttl, *(one.ttl for _, one in found if one.alias)])


def _observation(port: Port, name: Name, looks: _Looks, resolver: _Resolver) -> OwnerObservation:
    seen, passed, error = _Seen(), {name}, ""
    records, zone = name, looks.zones.of(name)
    while not error:
        error = zone.error
        seen.add(records, zone, looks)
        aliases = looks.aliases(records)
        if not aliases:
            break
        if len(aliases) > 1:
            error = f"{text(records)} is an alias of several names"
        if aliases[0] in passed or len(passed) > _ALIASES:
            error = f"the aliases from {text(name)} on lead nowhere"
            break
        records = aliases[0]
        passed.add(records)
        zone = looks.zones.of(records)
    signed = bool(seen.signed) and all(seen.signed)
    valid, why = resolver.valid(name, signed=signed if seen.signed else None)
    return OwnerObservation(
        port,
        text(records),
        text(zone.name) if zone.hosts else "",
        tuple(seen.servers),
        tuple(seen.answers),
        Security(signed, valid, why, min(seen.ends, default=None)),
        resolver.records(name),
        error,
    )


class _Resolver:
    """What the machine's own resolver has, and what it says of signatures."""

    def __init__(self, session: Session, names: Sequence[Name]) -> None:
        asked = [(name, _TLSA, check) for name in names for check in (True, False)]
        replies = session.all(
            [*asked, (dns.name.root, _SOA, True)],
            lambda one: session.ask_resolver(one[0], one[1], check=one[2]),
        )
        self._checked = {name: replies[name, _TLSA, True] for name in names}
        self._unchecked = {name: replies[name, _TLSA, False] for name in names}
        self._root = replies[dns.name.root, _SOA, True]

    def records(self, name: Name) -> Records | None:
        """Return the records that it has; ``None``: it gave no answer."""
        reply = self._checked[name]
        if not (reply.told and reply.message):
            return None
        return frozenset(record for rrset in reply.message.answer for record in _records(rrset))

    def valid(self, name: Name, *, signed: bool | None) -> tuple[bool | None, str]:
        """Return whether it found the signatures valid, and what is wrong or not known.

        :param signed: whether all name servers sign; ``None``: none of them answered
        """
        reply = self._checked[name]
        if _authentic(reply):
            return True, ""
        if reply.code == "SERVFAIL" and self._unchecked[name].told:
            return False, f"the resolver finds the signatures bogus: {explained(reply)}"
        if not reply.told:
            return None, reply.error
        if signed is None:
            return None, "no name server answered"
        if not signed:
            return False, "the zone is not signed"
        if _authentic(self._root):
            return None, "no chain of trust leads to the zone (is its DS record missing?)"
        return None, "the resolver of this machine does not validate signatures"


def _authentic(reply: Reply) -> bool:
    return bool(reply.told and reply.message and reply.message.flags & dns.flags.AD)


def _read(message: Message, name: Name) -> _Look:
    """Read what an answer says of one name."""
    for kind in (dns.rdatatype.CNAME, _TLSA):
        rrset = message.get_rrset(message.answer, name, dns.rdataclass.IN, kind)
        if rrset:
            alias = rrset[0].target if kind == dns.rdatatype.CNAME else None
            passed = [
                one
                for one in message.answer
                if one.name == name and kind in (one.rdtype, one.covers)
            ]
            if alias:
                # One that is made of a DNAME has that one's TTL and signature (RFC 6672 §3.1, §5.3).
                passed += [one for one in message.answer if name.is_subdomain(one.name)]
            signatures = [
                one for some in passed if some.rdtype == dns.rdatatype.RRSIG for one in some
            ]
            ttl = max(one.ttl for one in passed)
            ttl = max([ttl, *(one.original_ttl for one in signatures)])
            return _Look(frozenset(_records(rrset)), alias, ttl, bool(signatures))
    signed = any(one.rdtype == dns.rdatatype.RRSIG for one in message.authority)
    return _Look(ttl=_negative_ttl(message), signed=signed)


def _records(rrset: RRset) -> list[TlsaRecord]:
    if rrset.rdtype != _TLSA:
        return []
    return [TlsaRecord(one.usage, one.selector, one.mtype, one.cert.hex()) for one in rrset]


def _negative_ttl(message: Message) -> int:
    """Return how long it is held that there are none (RFC 2308 §5)."""
    found = [
        min(rrset.ttl, one.minimum)
        for rrset in message.authority
        if rrset.rdtype == _SOA
        for one in rrset
    ]
    return max(found, default=0)


def _ends(message: Message) -> list[datetime]:
    """Return when the signatures of each set of records end, of several the last one."""
    return [
        datetime.fromtimestamp(max(one.expiration for one in rrset), timezone.utc)
        for rrset in (*message.answer, *message.authority)
        if rrset.rdtype == dns.rdatatype.RRSIG
    ]


def _oldest(serials: Iterable[int]) -> int | None:
    """Return the oldest one, in the arithmetic of RFC 1982."""
    oldest = None
    for one in serials:
        if oldest is None or 0 < (oldest - one) % (1 << 32) < 1 << 31:
            oldest = one
    return oldest


def _error(replies: Sequence[Reply], zone: Zone) -> str:
    errors = [error for error in (not_authoritative(one, zone) for one in replies) if error]
    if not errors or len(errors) == len(replies):
        return errors[0] if errors else ""
    return f"it answered {len(replies) - len(errors)} of {len(replies)} times: {errors[0]}"
