"""What binds somebody: a policy's time, a release and a zone's records, at which hosts, and until when. Pure.

The rules:

* A policy binds until it was last served plus its own max-age, not today's (RFC 7469 §2.3.1, §2.3.3). A
  policy that may still be served binds until now plus its max-age.
* A release is a version of an app, or a zone, that carries pins. A release binds until the date that the
  admin names, plus its TTL.
* A port's TLSA records bind until every name server was seen without them, plus twice their TTL and a spare.
  Caches may take them until then, and keep them for one TTL (RFC 7671 §8.1); the rest is for name servers
  that go back for a while.
* Each binds at its hosts (see ``hostnames``), and nowhere else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import ClassVar, TypeVar

from certbot_pinkeep.core import hostnames
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.core.tlsa import Port

#: Channel and label of the release that stands for headers that could not be seen.
UNSEEN = ("header", "not-seen")
#: For how long name servers and caches may take to settle, beside the TTLs.
SETTLING = timedelta(hours=1)


@dataclass(frozen=True)
class Window:
    """When a policy or a release was held.

    :ivar what: the release; empty: it was a policy
    :ivar since: from when it may have been served, or was carried
    :ivar ended: when it was replaced, or is not carried any more; ``None``: it was not
    :ivar until: until when somebody may have held it
    """

    what: str
    pins: tuple[str, ...]
    since: datetime
    ended: datetime | None
    until: datetime


@dataclass(frozen=True)
class Release:
    """Pins that a version of an app, or a zone, carries.

    :ivar channel: what carries them, e.g. ``ios``, ``dns``
    :ivar label: which one it is there, e.g. ``3.2``
    :ivar pins: all that it carries
    :ivar hosts: the names that it pins; empty: it may be any
    :ivar recorded: since when it is known
    :ivar until: until when it is carried
    :ivar ttl: for how long it is held after that
    :ivar subdomains: whether it pins the names below the hosts as well
    """

    channel: str
    label: str
    pins: tuple[str, ...]
    hosts: tuple[str, ...]
    recorded: datetime
    until: datetime
    ttl: timedelta = timedelta(0)
    subdomains: bool = False

    def __str__(self) -> str:
        return f"the release {self.channel} {self.label}"

    @property
    def is_unseen(self) -> bool:
        """Whether it stands for headers that could not be seen."""
        return (self.channel, self.label) == UNSEEN

    def is_the_same_as(self, other: Release) -> bool:
        """Return whether it is the same version of the same thing, maybe on record with another date."""
        one, two = ((r.channel, r.label, frozenset(r.pins)) for r in (self, other))
        return one == two

    def also_at(self, other: Release) -> Release:
        """Return the same, at the names of the other one as well."""
        hosts = _at_both(self.hosts, other.hosts)
        return replace(self, hosts=hosts, subdomains=self.subdomains or other.subdomains)

    def binds_at(self, hosts: Iterable[str] | None) -> bool:
        """Return whether it binds at any of these names; ``None``: at any name at all."""
        return _binds_at(self.hosts, hosts, subdomains=self.subdomains)

    def binds_until(self, now: datetime) -> datetime:
        """Return the time from which nobody holds it any more."""
        return self.until + self.ttl

    def may_bind(self, now: datetime) -> bool:
        """Return whether somebody may still hold it at *now*."""
        return self.binds_until(now) > now

    def window(self, now: datetime) -> Window:
        """Return when it is held, seen from *now*."""
        what = f"{self.channel} {self.label}"
        return Window(what, self.pins, self.recorded, self.until, self.binds_until(now))


@dataclass(frozen=True)
class Entry:
    """One policy's time.

    :ivar hosts: the names at which it was, or may have been, served; empty: it may be anywhere
    :ivar recorded: from when it may have been served
    :ivar confirmed: when Apache is known to have loaded it; ``None`` while pending
    :ivar replaced: when Apache is known to have loaded a later one; ``None`` while this one may
        still be served
    """

    policy: Policy
    recorded: datetime
    confirmed: datetime | None = None
    replaced: datetime | None = None
    hosts: tuple[str, ...] = ()

    @property
    def pins(self) -> tuple[str, ...]:
        """The pins of the policy."""
        return self.policy.pins

    @property
    def subdomains(self) -> bool:
        """Whether it binds at the names below its hosts as well."""
        return self.policy.include_subdomains

    def binds_at(self, hosts: Iterable[str] | None) -> bool:
        """Return whether it binds whom it binds at any of these names; ``None``: at any name at all."""
        return bool(self.policy.binding) and _binds_at(
            self.hosts, hosts, subdomains=self.subdomains
        )

    def is_served_at(self, hosts: Iterable[str]) -> bool:
        """Return whether it may be served at any of these names, whomever it binds."""
        return self.replaced is None and _binds_at(self.hosts, hosts, subdomains=self.subdomains)

    def may_bind(self, now: datetime) -> bool:
        """Return whether a client may still hold it at *now*, or get it."""
        return bool(self.policy.binding) and self.binds_until(now) > now

    def also_at(self, hosts: tuple[str, ...]) -> Entry:
        """Return the same, served at these names as well."""
        return replace(self, hosts=_at_both(self.hosts, hosts))

    @property
    def is_awaited(self) -> bool:
        """Whether it was seen being sent, and not seen to be gone since."""
        return self.replaced is not None and self.confirmed is None and bool(self.hosts)

    def is_needed(self, now: datetime) -> bool:
        """Return whether it is, or follows, what may be served, or may bind somebody."""
        return self.replaced is None or self.binds_until(now) > now

    def binds_until(self, now: datetime) -> datetime:
        """Return the time from which no client can hold it any more, seen from *now*."""
        return (self.replaced or now) + self.policy.binding

    def window(self, now: datetime) -> Window:
        """Return when it is held, seen from *now*."""
        return Window("", self.pins, self.recorded, self.replaced, self.binds_until(now))


@dataclass(frozen=True)
class ZoneEntry:
    """The time of one set of TLSA records, at one port.

    :ivar pins: those that the records carry; none: what they bind to is unknown
    :ivar ttl: the largest TTL that was seen with them
    :ivar recorded: from when they may have been served
    :ivar confirmed: when a name server was first seen to serve them; ``None``: none was yet
    :ivar replaced: when every name server was seen not to serve them; ``None`` while one may
    """

    port: Port
    pins: tuple[str, ...]
    ttl: timedelta
    recorded: datetime
    confirmed: datetime | None = None
    replaced: datetime | None = None

    def __str__(self) -> str:
        return f"the TLSA records of {self.port}"

    @property
    def hosts(self) -> tuple[str, ...]:
        """The host whose port it is."""
        return (self.port.host,)

    @property
    def binding(self) -> timedelta:
        """For how long a client may hold the records after the last name server served them."""
        return 2 * self.ttl + SETTLING

    @property
    def is_placeholder(self) -> bool:
        """Whether it stands for records that nobody could look at."""
        return not self.pins and self.confirmed is None

    #: Whether it binds at the names below its host as well: never.
    subdomains: ClassVar[bool] = False

    def binds_at(self, hosts: Iterable[str] | None) -> bool:
        """Return whether it binds at any of these names; ``None``: at any name at all."""
        return _binds_at(self.hosts, hosts, subdomains=False)

    def may_bind(self, now: datetime) -> bool:
        """Return whether a client may still hold it at *now*, or get it."""
        return self.binds_until(now) > now

    def binds_until(self, now: datetime) -> datetime:
        """Return the time from which no client can hold it any more, seen from *now*."""
        return (self.replaced or now) + self.binding

    def window(self, now: datetime) -> Window:
        """Return when it is held, seen from *now*."""
        what = f"TLSA {self.port}"
        return Window(what, self.pins, self.recorded, self.replaced, self.binds_until(now))


#: What binds somebody.
Holding = Entry | Release | ZoneEntry
One = TypeVar("One", bound=Holding)


def _at_both(hosts: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    """Return the hosts of both; none, as there, stands for any host."""
    return tuple(dict.fromkeys((*hosts, *others))) if hosts and others else ()


def _binds_at(served: tuple[str, ...], hosts: Iterable[str] | None, *, subdomains: bool) -> bool:
    return (
        not served or hosts is None or bool(hostnames.covered(served, hosts, subdomains=subdomains))
    )


def known_by(one: One, now: datetime) -> One:
    """Return the same, with nothing that happened to it later than *now*."""
    recorded = min(one.recorded, now)
    if isinstance(one, Release):
        return replace(one, recorded=recorded)
    return replace(
        one,
        recorded=recorded,
        confirmed=min(one.confirmed, now) if one.confirmed else None,
        replaced=min(one.replaced, now) if one.replaced else None,
    )


def without(known: Iterable[One], gone: Collection[str]) -> list[One]:
    """Return what binds at other hosts than these, there alone."""
    left: list[One] = []
    for one in known:
        hosts = tuple(host for host in one.hosts if host not in gone)
        if isinstance(one, ZoneEntry):
            left += [one] if hosts else []
        elif hosts or not one.hosts:
            left.append(replace(one, hosts=hosts))
    return left
