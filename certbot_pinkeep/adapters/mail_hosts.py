"""The hosts that take the mail of a domain, as the machine's resolver has them. Needs dnspython.

The rules:

* A domain counts if one of its MX hosts is a port's host with its name, or one below it.
* What the resolver does not tell is not known. It only makes a warning, so nobody else is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import dns.exception
import dns.name
import dns.rdatatype
from dns.name import Name

from certbot_pinkeep.adapters.dns_session import Reply, Session
from certbot_pinkeep.adapters.dns_zones import plain
from certbot_pinkeep.core.zone_observations import MailHost, OwnerObservation

_SMTP = 25
_MX, _TLSA = dns.rdatatype.MX, dns.rdatatype.TLSA
#: Labels of the shortest name that is a domain of somebody's, with the root.
_SHORTEST = 3


def find(looks: Iterable[OwnerObservation], seconds: float) -> list[MailHost]:
    """Return the MX hosts of the domains whose mail comes to port 25 of the hosts that were looked at."""
    ours = {name for look in looks if look.port.number == _SMTP for name in _names(look.port.host)}
    domains = {domain for host in ours for domain in _upwards(host)}
    with Session(seconds) as session:
        told = session.all(domains, lambda one: session.ask_resolver(one, _MX, check=False))
        found = {
            domain: hosts for domain, reply in told.items() if ours & (hosts := _mx(reply, domain))
        }
        owners = {host: _owner(host) for hosts in found.values() for host in hosts}
        records = session.all(
            [owner for owner in owners.values() if owner],
            lambda one: session.ask_resolver(one, _TLSA, check=False),
        )
    return [
        MailHost(plain(domain), plain(host), _has(records.get(owners[host] or host)))
        for domain, hosts in sorted(found.items())
        for host in sorted(hosts)
    ]


def _names(host: str) -> Iterator[Name]:
    try:
        yield dns.name.from_text(host)
    except (dns.exception.DNSException, UnicodeError):
        return


def _upwards(name: Name) -> Iterator[Name]:
    while len(name) >= _SHORTEST:
        yield name
        name = name.parent()


def _mx(reply: Reply, domain: Name) -> set[Name]:
    """Return the MX hosts of a domain; the root stands for none (RFC 7505)."""
    return {
        one.exchange
        for rrset in (reply.message.answer if reply.message else ())
        if rrset.rdtype == _MX and rrset.name == domain
        for one in rrset
        if one.exchange != dns.name.root
    }


def _owner(host: Name) -> Name | None:
    try:
        return dns.name.from_text(f"_{_SMTP}._tcp", None).concatenate(host)
    except dns.exception.DNSException:
        return None


def _has(reply: Reply | None) -> bool | None:
    if not (reply and reply.told and reply.message):
        return None
    return any(rrset.rdtype == _TLSA for rrset in reply.message.answer)
