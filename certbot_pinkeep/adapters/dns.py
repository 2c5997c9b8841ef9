"""What name servers show of TLSA records, and of the hosts that take mail.

dnspython is imported at the first look: nobody else needs it, and nobody else waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from certbot_pinkeep.core.errors import NoDnspython
from certbot_pinkeep.core.tlsa import Port
from certbot_pinkeep.core.zone_observations import MailHost, OwnerObservation

#: Seconds.
LIMIT = 10.0


def look(ports: Sequence[Port], *, seconds: float = LIMIT) -> list[OwnerObservation]:
    """Ask every authoritative name server for the TLSA records of ports, all at once.

    :param seconds: the time limit of all of it; what was not seen by then is told as an error
    :returns: what was seen, in the order of the ports
    :raises NoDnspython: if dnspython is not installed
    """
    if not ports:
        return []
    try:
        from certbot_pinkeep.adapters import name_servers
    except ImportError as error:
        raise NoDnspython from error
    return name_servers.look(ports, seconds)


def mail_hosts(looks: Sequence[OwnerObservation]) -> Sequence[MailHost]:
    """Return the MX hosts of the domains whose mail comes to the ports that were looked at.

    :raises NoDnspython: if dnspython is not installed
    """
    try:
        from certbot_pinkeep.adapters import mail_hosts
    except ImportError as error:
        raise NoDnspython from error
    return mail_hosts.find(looks, LIMIT)
