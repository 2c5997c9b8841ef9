"""What is wrong with a zone that carries pins, and with its ports. Pure.

The rules:

* CRITICAL: mail is refused, or will be after the next renewal or rollover. By the records of a name server or
  of this machine's resolver, clients refuse what a port serves; or they will refuse the next certificate for
  the same key (see ``core.dane``); the signatures are invalid or have expired; clients will not accept the
  key that a rollover is due for; a port has one record only.
* WARNING: it works, and needs a look. The zone is not signed, so mail servers ignore the records (RFC 7672
  §2.2); nothing here validates signatures; they end within two days; a name server has an older zone than
  another one; records are missing or left over, or no client heeds them; another MX host of the domain has
  no records.
* UNKNOWN: a name server or a port does not answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from certbot_pinkeep.check.findings import Finding, critical, unknown, warning
from certbot_pinkeep.core import dane, rollover, times
from certbot_pinkeep.core.dane import Certificate, Chain
from certbot_pinkeep.core.state import State
from certbot_pinkeep.core.text import command, joined, sentence
from certbot_pinkeep.core.tlsa import Port, TlsaRecord, record_of
from certbot_pinkeep.core.zone import Missing, Wanted
from certbot_pinkeep.core.zone_observations import (
    MailHost,
    OwnerObservation,
    PortObservation,
    Records,
)

#: How long before their end signatures are told of.
_SOON = timedelta(days=2)
_RESOLVER = "this machine's resolver"
_VALIDATE = (
    "Have the zone's DS record entered in the zone above. Have this machine use a resolver that validates, "
    "such as unbound."
)


@dataclass(frozen=True)
class SeenZone:
    """What was seen of a keyring's zone and ports.

    :ivar missing: what keeps the records from being as they are to be
    :ivar errors: what else went wrong, as sentences
    :ivar mail_hosts: the MX hosts of the domains whose mail comes to the ports
    """

    state: State
    want: Wanted
    looks: tuple[OwnerObservation, ...]
    ports: tuple[PortObservation, ...]
    missing: tuple[Missing, ...] = ()
    errors: tuple[str, ...] = ()
    mail_hosts: tuple[MailHost, ...] = ()

    @property
    def name(self) -> str:
        """The keyring's name."""
        return self.state.keyring.name

    @property
    def run(self) -> str:
        """The command that shows, and mends, most of it."""
        return command(f"certbot-pinkeep dns {self.name}")


def check(seen: SeenZone, now: datetime) -> Iterator[Finding]:
    """Yield what is wrong with a keyring's zone and its ports."""
    for error in seen.errors:
        yield unknown(seen.name, error, seen.run)
    yield from _silent(seen)
    told: set[str] = set()
    for look in seen.looks:
        for one in (*_refused(seen, look), *_next_key(seen, look, now), *_single(seen, look)):
            told.add(one.where)
            yield one
        yield from _signatures(seen, look, now)
    yield from _serials(seen.looks)
    for missing in seen.missing:
        if missing.where not in told and not _is_silent(seen, missing):
            yield warning(missing.where, missing.why, seen.run)
    yield from _mail_hosts(seen.mail_hosts)


def _silent(seen: SeenZone) -> Iterator[Finding]:
    for look in seen.looks:
        for why in look.errors:
            todo = (
                "Until it answers, no rollover is safe. See that it runs, and is reached from here."
            )
            yield unknown(str(look.port), sentence(why), joined(todo, seen.run))
    for port in seen.ports:
        if port.error:
            yield unknown(port.where, sentence(port.error), _seeing(port))


def _seeing(port: PortObservation) -> str:
    """Say what lets this machine see a port."""
    if not port.address:
        return "See that this machine can look up the name."
    if not port.routed:
        return (
            f"Give this machine a route. Or if the same server has another address of {port.port.host}, name "
            "that address in /etc/hosts."
        )
    return "Start its server, or take the port out of --pinkeep-tlsa."


def _is_silent(seen: SeenZone, missing: Missing) -> bool:
    """Return whether it is told already that nothing answered there."""
    ports = {port.where for port in seen.ports if port.error}
    looks = {str(look.port) for look in seen.looks if look.errors}
    return missing.where in ports | looks


def _sets(look: OwnerObservation) -> Iterator[tuple[str, Records]]:
    """Yield each set of records that binds somebody, and where it was seen."""
    for answer in look.answers:
        yield f"{answer.server}, {look.port.owner}", answer.records
    if look.resolver is not None:
        yield f"{_RESOLVER}, {look.port.owner}", look.resolver


def _binds(records: Records) -> bool:
    return any(one.binds for one in records)


def _refused(seen: SeenZone, look: OwnerObservation) -> Iterator[Finding]:
    """Yield the keys that a port serves, and that records refuse."""
    chains, elsewhere = _chains(seen, look), any(_binds(one.records) for one in look.answers)
    for where, records in _sets(look):
        # The resolver may hold for a while that there were none, which refuses nothing.
        if chains and elsewhere and not _binds(records) and not where.startswith(_RESOLVER):
            what = "It has no record of the port's key, though others have."
            yield critical(where, what, seen.run)
            continue
        told: set[str] = set()
        for chain in chains:
            finding = _judged(seen, look.port, where, records, chain)
            if finding and finding.what not in told:
                told.add(finding.what)
                yield finding


def _chains(seen: SeenZone, look: OwnerObservation) -> list[Chain]:
    """Return what a port serves; of a certificate that was not kept, the pin alone."""
    shown = [one for one in seen.ports if one.port == look.port]
    chains = [chain for one in shown for chain in one.chains]
    known = {chain[0].pin for chain in chains}
    pins = dict.fromkeys(pin for one in shown for pin in one.pins if pin not in known)
    return list(dict.fromkeys((*chains, *((Certificate(pin),) for pin in pins))))


def _judged(
    seen: SeenZone, port: Port, where: str, records: Records, chain: Chain
) -> Finding | None:
    """Return what is wrong if clients get these records, and this certificate; ``None``: nothing."""
    own = chain[0]
    serves, now = f"{port} serves the key with the pin {own.pin}", dane.verdict(records, chain)
    if now == "unheeded" and records:
        what = "No client understands any of its records. It delivers to whatever answers at this port."
        return warning(where, what, seen.run)
    if now == "refused" and record_of(own.pin) in records:
        kinds = _kinds(dane.outranking(records))
        what = (
            f"{serves}, which is among the records. But many mail servers deliver nothing there: beside "
            f"{kinds} they heed no 3 1 1 record (RFC 7671 §9)."
        )
        return critical(where, what, f"Delete {kinds}.")
    if now == "refused":
        what = f"{serves}, which is not among the records: mail servers that check them deliver nothing."
        return critical(where, what, _mend(seen, own.pin))
    if now == "accepted" and dane.verdict(records, (own.renewed(), *chain[1:])) == "refused":
        what = (
            f"{serves}, and only a record of its whole certificate matches: after the next renewal mail "
            "servers deliver nothing there."
        )
        return critical(where, what, _mend(seen, own.pin))
    return None


def _kinds(records: Iterable[TlsaRecord]) -> str:
    """Write which kinds of records these are."""
    kinds = dict.fromkeys(f"{one.usage} {one.selector} {one.matching}" for one in records)
    return f"the {' and the '.join(kinds)} record"


def _mend(seen: SeenZone, pin: str) -> str:
    """Return what helps when a port serves a key that records refuse."""
    if pin in seen.want.pins:
        return seen.run
    return joined("Have the server of this port load the certificate of the keyring.", seen.run)


def _next_key(seen: SeenZone, look: OwnerObservation, now: datetime) -> Iterator[Finding]:
    """Yield the keys that a rollover is due for, and that are not in the records."""
    state = seen.state
    for decision in rollover.decide_all(state.keyring, state.ledger, now).values():
        if decision.due is None or decision.best is None:
            continue
        for where, records in _sets(look):
            accepted = dane.accepted_pins(records)
            if _binds(records) and decision.best.pin not in accepted:
                yield critical(
                    where,
                    f"A rollover is due, and mail servers would refuse its next key, with the pin "
                    f"{decision.best.pin}, by the records.",
                    seen.run,
                )


def _single(seen: SeenZone, look: OwnerObservation) -> Iterator[Finding]:
    for where, records in _sets(look):
        if len(records) == 1 and _binds(records):
            what = "It has one record only, so that no rollover can be prepared."
            yield critical(where, what, seen.run)


def _signatures(seen: SeenZone, look: OwnerObservation, now: datetime) -> Iterator[Finding]:
    if not look.answers:
        return
    security, where = look.security, look.zone or str(look.port)
    sign = "Have the zone signed anew on its primary name server."
    if not security.signed:
        if any(one.records for one in look.answers):
            what = "The zone is not signed (DNSSEC): mail servers ignore its TLSA records."
            yield warning(where, what, "Have the zone signed.")
        return
    if security.valid is False:
        what = f"The signatures (DNSSEC) of the TLSA records are invalid: {security.why}."
        yield critical(where, what, sign)
    elif security.valid is None:
        what = f"Nobody here knows whether mail servers heed the TLSA records: {security.why}."
        yield warning(where, what, _VALIDATE)
    if security.expires is None or security.expires > now + _SOON:
        return
    ends = times.text(security.expires)
    if security.expires <= now:
        what = f"The signatures (DNSSEC) of the TLSA records expired on {ends}."
        yield critical(where, what, sign)
    else:
        what = f"The signatures (DNSSEC) of the TLSA records end on {ends}."
        yield warning(where, what, sign)


def _serials(looks: Sequence[OwnerObservation]) -> Iterator[Finding]:
    """Yield the name servers that have an older version of a zone than another one (RFC 1982 §3.2)."""
    # An alias may lead to another zone: each of them has serials of its own.
    servers = dict.fromkeys(replace(one, error="") for look in looks for one in look.servers)
    for one in servers:
        newer = [
            other.serial
            for other in servers
            if other.zone == one.zone
            and one.serial is not None
            and other.serial is not None
            and 0 < (other.serial - one.serial) % 2**32 < 2**31
        ]
        if newer:
            yield warning(
                str(one),
                f"It has the serial {one.serial} of the zone {one.zone}, and another name server has "
                f"{newer[0]}.",
                "If that stays so, have it transfer the zone.",
            )


def _mail_hosts(hosts: Iterable[MailHost]) -> Iterator[Finding]:
    found = tuple(hosts)
    ours = {one.domain for one in found if one.records}
    for one in found:
        if one.domain in ours and one.records is False:
            yield warning(
                one.host,
                f"It is an MX host of {one.domain} without TLSA records for port 25: mail that goes there "
                "is not protected.",
                "Pin its keys, too.",
            )
