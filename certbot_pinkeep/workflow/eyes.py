"""How zones and ports are looked at. What that takes is imported only if a keyring has a zone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from certbot_pinkeep.core.tlsa import Port
from certbot_pinkeep.core.zone_observations import MailHost, OwnerObservation, PortObservation


@dataclass(frozen=True)
class Eyes:
    """How zones and ports are looked at and written. Nothing but ``provider`` raises.

    :ivar records: what the name servers show of each port's records
    :ivar services: what the ports show
    :ivar mail_hosts: the MX hosts of the zones whose port 25 was looked at
    :ivar provider: makes the ``IZone`` of a credentials file
    """

    records: Callable[[Sequence[Port]], list[OwnerObservation]]
    services: Callable[[Sequence[Port]], list[PortObservation]]
    provider: Callable[[str], Any]
    mail_hosts: Callable[[Sequence[OwnerObservation]], Sequence[MailHost]] = lambda looks: ()
    sleep: Callable[[float], None] = time.sleep


def real() -> Eyes:
    """Return what looks at this machine's name servers and ports."""
    from certbot_pinkeep.adapters import dns, ports
    from certbot_pinkeep.carriers.zones import credentials

    return Eyes(dns.look, ports.look, credentials.load, dns.mail_hosts)
