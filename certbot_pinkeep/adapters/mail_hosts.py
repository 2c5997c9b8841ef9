"""The hosts that take the mail of a domain, as the machine's resolver has them. Needs dnspython.

The rules:

* A domain counts if one of its MX hosts is a port's host with its name, or one below it.
* What the resolver does not tell is not known. That only makes a warning, so nobody else is asked.
"""

from __future__ import annotations

from collections.abc import Iterable

import dns.name
import dns.rdatatype
from dns.name import Name

from certbot_pinkeep.adapters.dns_session import Reply, Session, found_at
from certbot_pinkeep.adapters.dns_zones import name_of, plain, upwards
from certbot_pinkeep.core.tlsa import Port
from certbot_pinkeep.core.zone_observations import MailHost, OwnerObservation

_SMTP = 25
_MX, _TLSA = dns.rdatatype.MX, dns.rdatatype.TLSA
#: Labels of the shortest name that is a domain of somebody's, with the root.
_SHORTEST = 3


def find(looks: Iterable[OwnerObservation], seconds: float) -> list[MailHost]:
    """Return the MX hosts of the domains whose mail comes to port 25 of the hosts that were looked at."""
    mail = (name_of(look.port.host) for look in looks if look.port.number == _SMTP)
    ours = set(filter(None, mail))
    domains = {one for host in ours for one in upwards(host) if len(one) >= _SHORTEST}
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


def _owner(host: Name) -> Name | None:
    return name_of(Port(plain(host), _SMTP).owner)


def _mx(reply: Reply, domain: Name) -> set[Name]:
    """Return the MX hosts of a domain; the root stands for none (RFC 7505)."""
    found = found_at(reply.message, domain, _MX) if reply.message else ()
    return {one.exchange for one in found} - {dns.name.root}


def _has(reply: Reply | None) -> bool | None:
    if not (reply and reply.told and reply.message):
        return None
    return any(rrset.rdtype == _TLSA for rrset in reply.message.answer)
