"""All clients there could be.

A client may visit a host at any time, and note the policy that is sent there. It may come back at any later
time, with includeSubDomains also to a host below. All of them at once are known by what was served last when:
somebody holds a policy until it was last served plus its max-age. That is more than any real set of clients
does, who replace what they noted when they come back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from certbot_pinkeep.core import hostnames
from certbot_pinkeep.core.policy import Policy


class LockedOut(AssertionError):
    """A client that holds what binds meets a key outside it."""


@dataclass(frozen=True)
class Served:
    """What a server sends for a host until it is reloaded.

    :ivar pin: of the certificate's key
    """

    host: str
    pin: str
    policy: Policy | None


class Visitors:
    """Everybody who ever visited a host.

    :ivar held: until when somebody holds a policy of a host
    """

    def __init__(self) -> None:
        self.held: dict[tuple[Policy, str], datetime] = {}

    def visit(self, served: Served, now: datetime) -> None:
        """Somebody is there now, and notes the policy."""
        policy = served.policy
        if policy is not None and policy.binding:
            self.held[policy, served.host] = now + policy.binding

    def refuse(self, served: Served, now: datetime) -> Iterator[tuple[Policy, str, datetime]]:
        """The policies that somebody holds now, and that the served key is not in: of which host, and until
        when."""
        for (held, host), until in self.held.items():
            bound = hostnames.covers(host, served.host, subdomains=held.include_subdomains)
            if bound and served.pin not in held.pins and now < until:
                yield held, host, until

    def forget(self, now: datetime) -> None:
        """What has run out is held by nobody."""
        self.held = {held: until for held, until in self.held.items() if until > now}
