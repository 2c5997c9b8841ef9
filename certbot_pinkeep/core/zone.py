"""A zone as a carrier of pins: what was seen of it, what it is to have, and what is still missing. Pure.

The rules:

* What any name server shows binds, whoever put it there. Records of usage 1 and 3 bind to a key or a
  certificate; records of usage 0 and 2 alone bind to an authority, and stand in no rollover's way.
* Beside a ``3 1`` record with a longer digest, clients heed no record with a pin (RFC 7671 §9). Such a set
  has no pins, and no rollover is safe.
* A set of records ends only when every authoritative name server was asked, and none showed it (G13). Then
  resolvers may hold it for a while: see ``holdings``.
* A set that was written, and was not seen yet, may still come. The set ends when all name servers show a
  later one alone, or when a later one came and went. If what follows it binds to nothing, it ends as if it
  had been seen.
* While the clock says less than the ledger knows, nothing ends: from when it is gone cannot be told (G8).
* If a name server could not be asked, its records may be anything: a placeholder with no pins stands for
  them, and no rollover is safe. The same goes for a port that nobody has looked at yet. The placeholder ends
  as a set of records does.
* What a port had before the first look is unknown, also its TTL. If the first look finds records, somebody
  pins there: others may have been replaced a minute ago, and resolvers hold them for their TTL, usually a day
  at most. So the placeholder is held for a day. If it finds none, nobody pins there as a rule, and nothing is
  waited for but what is written now: else each new port would wait a day.
* Which keys a port serves is a fact that was seen at that port. A port that could not be seen at each of
  its addresses may still serve what it served before.
* A zone is to have the pins that the keyring publishes, and those that a port may serve. A key leaves the
  zone only when every port on the list was seen to serve others (RFC 7671 §8.1).
* A port gets its first records only if they have all that it was seen to serve just now: with records, mail
  goes to it only if its key is in them (RFC 7672 §2.2).
* If pinning is left, the keyring's records go. The records stay if others' would stay alone at a port that
  may serve a key of the keyring.
* Nothing is written over records that bind before a name server showed them: with a TTL that nobody saw,
  they would be held for an unknown time.
* pinkeep takes away only ``3 1 1`` records with the pin of one of the keyring's keys. All others stay.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from certbot_pinkeep.core import hostnames
from certbot_pinkeep.core.dane import accepted_pins, outranking
from certbot_pinkeep.core.holdings import ZoneEntry
from certbot_pinkeep.core.keyring import Keyring
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.text import sentence
from certbot_pinkeep.core.tlsa import Port, TlsaRecord, ports_of, record_of, short
from certbot_pinkeep.core.zone_observations import OwnerObservation, PortObservation, Records

#: How long a look holds if nothing is pending.
LOOK_HOLDS = timedelta(days=1)
#: Half of the time for which what was there before the first look is held (see ``holdings``).
_BEFORE = timedelta(hours=12)
#: In seconds (RFC 2181 §8). A name server can send more in a signature.
_LONGEST_TTL = (1 << 31) - 1
_OUTRANKED = (
    "It has a {record} record. Beside it many mail servers heed no 3 1 1 record (RFC 7671 §9), so no "
    "rollover is safe. Delete the {record} record."
)


@dataclass(frozen=True)
class Service:
    """What a port was seen to serve last.

    :ivar pins: those of the keys that it may serve
    :ivar seen: when all of its addresses showed what they serve last; ``None``: they never did
    """

    port: Port
    pins: tuple[str, ...] = ()
    seen: datetime | None = None


@dataclass(frozen=True)
class Wanted:
    """What the zone is to have for one keyring.

    :ivar pins: in the order of the header
    :ivar known: the pins of all keys of the keyring: these records alone may be taken away
    :ivar removes: whether records may be taken away: every port was seen to serve others
    :ivar seen: the ports that were just seen, at all of their addresses
    """

    pins: tuple[str, ...]
    known: frozenset[str]
    removes: bool
    seen: frozenset[Port] = frozenset()

    @property
    def records(self) -> Records:
        """The records of each port."""
        return frozenset(map(record_of, self.pins))

    @property
    def left(self) -> Records:
        """The records that are to go."""
        if not self.removes:
            return frozenset()
        return frozenset(record_of(pin) for pin in self.known - set(self.pins))


@dataclass(frozen=True)
class Missing:
    """What keeps a port's records from being as they are to be.

    :ivar where: the name server or the port
    :ivar why: what is wrong there, as a sentence
    :ivar waits: whether it comes right by itself, when the name servers have what was written
    """

    port: Port
    where: str
    why: str
    waits: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.why}"


# Which ports


def listed_ports(
    choices: Iterable[Port], hosts: Sequence[str]
) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Return the ports whose keys are to be in the zone, and the choices without a host of the keyring.

    :param choices: what the admin gave
    :param hosts: the names of the keyring's certificates
    """
    chosen = tuple(choices)
    foreign = tuple(
        one
        for one in chosen
        if one.host and not hostnames.covered((one.host,), hosts, subdomains=False)
    )
    return ports_of((one for one in chosen if one not in foreign), hosts), foreign


def looked_at(listed: Sequence[Port], ledger: Ledger) -> tuple[Port, ...]:
    """Return the ports whose records are to be looked at: also those whose records still bind."""
    return tuple(dict.fromkeys((*listed, *(one.port for one in ledger.zone if not one.replaced))))


# What was seen


def with_unseen(ledger: Ledger, ports: Iterable[Port], ttl: timedelta, at: datetime) -> Ledger:
    """Note that the records of these ports may be anything.

    :param ttl: the TTL that is taken for theirs, until they are seen
    """
    waiting = {one.port for one in ledger.zone if one.is_placeholder and not one.replaced}
    now = ledger.not_before(at)
    added = (ZoneEntry(port, (), ttl, now) for port in ports if port not in waiting)
    return replace(ledger, zone=(*ledger.zone, *added))


def with_new_ports(
    ledger: Ledger,
    services: Iterable[Service],
    ports: Iterable[Port],
    *,
    ttl: timedelta,
    at: datetime,
) -> Ledger:
    """Note that the records of ports may be anything, if the ports are new on the list.

    :param services: those of the ports that were on the list before
    """
    known = {one.port for one in services}
    return with_unseen(ledger, (port for port in ports if port not in known), ttl, at)


def with_looked(ledger: Ledger, look: OwnerObservation, ttl: timedelta, at: datetime) -> Ledger:
    """Note what the name servers showed of one port.

    :param ttl: as for :func:`with_unseen`
    :param at: when the look was over
    """
    now, ends = ledger.not_before(at), not look.errors and not ledger.is_ahead_of(at)
    sets = [(one, timedelta(seconds=min(held, _LONGEST_TTL))) for one, held in look.sets]
    shown: dict[frozenset[str], timedelta] = {}
    for records, held in sets:
        if _binds(records):
            pins = accepted_pins(records)
            shown[pins] = max(held, shown.get(pins, held))
    longest = max([ttl, *(held for _, held in sets)])
    mine = [one for one in ledger.zone if one.port == look.port]
    if any(records for records, _ in sets) and all(
        one.is_placeholder and not one.replaced for one in mine
    ):
        mine = [replace(one, ttl=max(one.ttl, _BEFORE)) for one in mine]
    last = max(_last_agreed(mine, look), _last_gone(mine, shown))
    entries = []
    for place, one in enumerate(mine):
        pins = frozenset(one.pins)
        if one.replaced:
            entries.append(one)
        elif pins in shown and not one.is_placeholder:
            held = max(one.ttl, shown.pop(pins))
            entries.append(replace(one, confirmed=one.confirmed or now, ttl=held))
        elif ends and one.is_placeholder:
            entries.append(replace(one, replaced=now, ttl=max(one.ttl, longest)))
        elif ends and (one.confirmed or place < last):
            entries.append(replace(one, replaced=now))
        else:
            entries.append(one)
    for pins, held in shown.items():
        entries.append(ZoneEntry(look.port, tuple(sorted(pins)), held, now, now))
        if ends and len(look.sets) == 1:
            entries = [_ended(one, now) for one in entries[:-1]] + entries[-1:]
    others = tuple(one for one in ledger.zone if one.port != look.port)
    result = replace(ledger, zone=(*others, *entries))
    return with_unseen(result, [look.port], ttl, at) if look.errors else result


def _last_agreed(entries: Sequence[ZoneEntry], look: OwnerObservation) -> int:
    """Return the place of the one set that all name servers show; -1: they show several, or another."""
    if look.agreed is None:
        return -1
    pins = accepted_pins(look.agreed)
    live = (
        (n, one) for n, one in enumerate(entries) if not one.replaced and not one.is_placeholder
    )
    return max((n for n, one in live if frozenset(one.pins) == pins), default=-1)


def _last_gone(entries: Sequence[ZoneEntry], shown: Collection[frozenset[str]]) -> int:
    """Return the place of the last set that was shown and is not any more; -1: there is none."""
    confirmed = ((n, frozenset(one.pins)) for n, one in enumerate(entries) if one.confirmed)
    return max((n for n, pins in confirmed if pins not in shown), default=-1)


def _ended(one: ZoneEntry, now: datetime) -> ZoneEntry:
    return one if one.replaced else replace(one, replaced=now)


def _binds(records: Records) -> bool:
    return any(record.binds for record in records)


def with_written(
    ledger: Ledger, port: Port, records: Records, ttl: timedelta, at: datetime
) -> Ledger:
    """Note that records are about to be written; it is saved before they are.

    :param records: all that the port is to have
    """
    if not _binds(records):
        waiting = (_as_if_seen(one, at) if one.port == port else one for one in ledger.zone)
        return replace(ledger, zone=tuple(waiting))
    pins, now = accepted_pins(records), ledger.not_before(at)
    known = [
        one
        for one in ledger.zone
        if one.port == port and not one.replaced and frozenset(one.pins) == pins and one.pins
    ]
    others = tuple(one for one in ledger.zone if one not in known)
    if known:
        longest = max([ttl, *(one.ttl for one in known)])
        written = replace(known[-1], ttl=longest, confirmed=None)
    else:
        written = ZoneEntry(port, tuple(sorted(pins)), ttl, now)
    return replace(ledger, zone=(*others, written))


def _as_if_seen(one: ZoneEntry, at: datetime) -> ZoneEntry:
    """Return a set that was written, and is followed by one that binds to nothing."""
    if one.replaced or one.confirmed or one.is_placeholder:
        return one
    return replace(one, confirmed=max(one.recorded, at))


def served(
    services: Iterable[Service],
    listed: Iterable[Port],
    looks: Iterable[PortObservation],
    at: datetime,
) -> tuple[Service, ...]:
    """Return what each port on the list serves, after a look at them; others are forgotten.

    :param at: when the look was over
    """
    known = {one.port: one for one in services}
    shown: dict[Port, list[PortObservation]] = {}
    for look in looks:
        shown.setdefault(look.port, []).append(look)
    found = []
    for port in listed:
        before, seen = known.get(port, Service(port)), shown.get(port, [])
        pins = tuple(dict.fromkeys(pin for one in seen for pin in one.pins))
        if pins and not any(one.error for one in seen):
            found.append(Service(port, pins, at))
        else:
            found.append(replace(before, pins=tuple(dict.fromkeys((*before.pins, *pins)))))
    return tuple(found)


def is_due(
    published: Iterable[str],
    known: frozenset[str],
    services: Iterable[Service],
    ports: Iterable[Port],
    *,
    ledger: Ledger,
    now: datetime,
) -> bool:
    """Return whether a look is due: something is pending, or the last look was a day ago.

    :param published: the pins that the zone is to have once every port serves a primary
    :param known: the pins of all keys of the keyring
    """
    seen = {
        one.port for one in services if one.seen and timedelta(0) <= now - one.seen < LOOK_HOLDS
    }
    there = [one for one in ledger.zone if not one.replaced]
    looked = seen.intersection(one.port for one in there if one.confirmed)
    pins = frozenset(published)
    return not looked.issuperset(ports) or any(known.intersection(e.pins) != pins for e in there)


def with_gone(ledger: Ledger, where: str, at: datetime) -> Ledger:
    """Note that a port's records are gone, as the admin says: its name servers are no more.

    :param where: the port, as ``HOST:PORT``
    """
    now = ledger.not_before(at)
    entries = (_ended(one, now) if str(one.port) == where else one for one in ledger.zone)
    return replace(ledger, zone=tuple(entries))


# What it is to have


def wanted(
    keyring: Keyring,
    services: Sequence[Service],
    listed: Sequence[Port],
    at: datetime,
    *,
    leaves: bool = False,
) -> Wanted:
    """Return what the zone is to have.

    :param at: when the ports were looked at: what was seen then is known
    :param leaves: whether the admin leaves pinning
    :raises BadPolicy: if the keyring has no backup (G4)
    """
    known = frozenset(key.pin for key in keyring.keys)
    seen = frozenset(one.port for one in services if one.seen is not None and one.seen >= at)
    if leaves or not listed:
        return Wanted((), known, True, seen)
    serving = [pin for one in services for pin in one.pins if pin in known]
    pins = tuple(dict.fromkeys((*keyring.published_pins(), *serving)))
    return Wanted(pins, known, seen.issuperset(listed), seen)


def records_after(before: Records, want: Wanted, service: Service | None) -> tuple[Records, str]:
    """Return the records that a port is to have, and why they are fewer than the zone's.

    :param before: all that it has
    :param service: what the port serves; ``None``: it is not on the list any more
    :returns: the records, and a sentence; empty: they are all that the zone is to have
    """
    if service is None or not want.pins:
        return _without_ours(before, want, service)
    if not _binds(before):
        if service.port not in want.seen:
            return before, "This port was not seen to serve a key now, so it gets no records."
        strange = [pin for pin in service.pins if pin not in want.pins]
        if strange:
            return before, (
                f"This port serves the key with the pin {strange[0]}, which is not the keyring's, so it "
                "gets no records."
            )
    return (before | want.records) - want.left, ""


def unseen(looks: Iterable[OwnerObservation], before: Mapping[str, Records]) -> tuple[Missing, ...]:
    """Return the names whose records bind, and that no name server shows: they have to be seen first.

    :param before: the records at the provider, by name
    """
    return tuple(
        Missing(
            look.port,
            look.name,
            "Its provider has records that no name server shows yet, so nothing is written.",
            waits=True,
        )
        for look in looks
        if _binds(before.get(look.name, frozenset()))
        and all(before[look.name] != records for records, _ in look.sets)
    )


def _without_ours(before: Records, want: Wanted, service: Service | None) -> tuple[Records, str]:
    """Return the records of a port that is left."""
    left = before - frozenset(map(record_of, want.known)) if want.removes else before
    strange = (
        service is not None and service.port in want.seen and want.known.isdisjoint(service.pins)
    )
    if not left or left == before or strange:
        return left, ""
    return before, (
        "This port has records of others as well, and it may serve one of the keyring's keys. So the "
        "keyring's records stay. Delete the others first."
    )


# What is missing


def missing(
    look: OwnerObservation, want: Wanted, service: Service | None, written: Mapping[Port, Records]
) -> tuple[Missing, ...]:
    """Return what keeps the records of a port from being as they are to be.

    :param written: what was written in this run, and may not have come to all name servers yet
    """
    port = look.port
    found = [Missing(port, str(port), sentence(why)) for why in look.errors]
    for answer in look.answers:
        after, why = records_after(answer.records, want, service)
        if why:
            found.append(Missing(port, str(port), why))
        elif after != answer.records:
            told = [
                *_told("it lacks", after - answer.records),
                *_told("it still has", answer.records - after),
            ]
            why = sentence("; ".join(told))
            where = f"{answer.server}, {port.owner}"
            found.append(Missing(port, where, why, port in written))
        elif service and want.pins:
            found += [
                Missing(port, port.owner, _OUTRANKED.format(record=f"3 1 {one.matching}"))
                for one in outranking(answer.records)
            ]
    return tuple(dict.fromkeys(found))


def stale(keyring: Keyring, looks: Iterable[PortObservation]) -> tuple[Missing, ...]:
    """Return the ports that still show a key of the keyring which no certificate has any more."""
    live = keyring.served_pins
    left = {key.pin for key in keyring.keys} - live if live else frozenset()
    return tuple(
        Missing(
            one.port,
            one.where,
            f"It still shows the key with the pin {short(pin)}, which no live certificate has. Have its "
            "server load the certificate.",
        )
        for one in looks
        for pin in one.pins
        if pin in left
    )


def _told(verb: str, records: Records) -> list[str]:
    pins = sorted(short(pin) for one in records if (pin := one.pin))
    many = "s" if len(pins) > 1 else ""
    return [f"{verb} the record{many} of the pin{many} {', '.join(pins)}"] if pins else []


def foreign(records: Iterable[TlsaRecord], want: Wanted) -> tuple[TlsaRecord, ...]:
    """Return the records that are not the keyring's: pinkeep leaves them alone."""
    return tuple(sorted(one for one in records if one.pin is None or one.pin not in want.known))
