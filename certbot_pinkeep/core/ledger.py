"""The history of policies: what was, or may have been, served, and until when it binds. Pure.

The rules:

* A policy is recorded before it is published: from then on it *may* be served, at the hosts that it
  was published for. It binds there (see ``reach``), and nowhere else.
* Where the same policy goes on at fewer hosts, the time at the others ends as that of a policy does:
  when Apache is known to have loaded what is published now.
* It is confirmed once Apache has loaded it. Only the confirmation of a later policy ends it: until
  then it may still be served, even when a later one is already recorded.
* It binds until it was last served plus its own max-age, not today's (RFC 7469 §2.3.1, §2.3.3).
  One that may still be served binds until now plus its max-age.
* Time in the ledger never runs backwards: what happens after a recorded moment is not dated before
  it. A confirmation at a moment before the latest known one ends nothing: how long the earlier
  policies were served cannot be told from a clock that was set back (G8).
* What can bind nobody any more is pruned, except for the current policy; one that is pending twice
  is kept once. So the ledger stays small for ever.
* A moment at which something was pruned stays on record: it shows when a clock, set far ahead for a
  while, made the ledger forget too much (G8).
* After a loss of state the ledger is blind to what was served before: until ``blind_until``
  nothing follows from it. While it is in ``doubt``, nothing follows from it either (G8).
* What other keyrings served at hosts that are now this one's is imported: it binds there as it did.
  It may be served until it is known that Apache sends this keyring's header there; also what binds
  nobody now is noted until then, because what follows it may.
* What a host was seen sending though no keyring publishes it is kept with what is imported, as
  served until it was seen last. The look that does not see it any more confirms its end.
* What a host sent before it was pinned, where it has an address and could not be seen there, is unknown: a
  release stands for it, with the keys that were live then, for the default max-age. A look that sees
  the host without pinkeep's header ends it, and so does the admin.
* A release, a version of an app or a zone that carries pins, binds as a policy does: until the date
  that the admin names, plus the time for which it is held after that (a zone's TTL). What is told of
  it later makes it bind for longer and at more names, never less; only its end makes it end.
* A release ends on its date, whatever the clock did. The last few that ran out are remembered: if a
  clock that was set far ahead ended one too early, it binds again, until its own date, once the
  clock is right. How long to wait for what is not known follows from policies alone.
* The last few that bind nobody any more are kept as windows in time, to be shown. Nothing follows
  from those.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from certbot_pinkeep.core import hostnames, times
from certbot_pinkeep.core.errors import BadRelease
from certbot_pinkeep.core.policy import Policy

#: How many windows are kept of what binds nobody any more.
PAST = 24
#: Channel and label of the release that stands for headers that could not be seen.
UNSEEN = ("header", "not-seen")


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
    """Pins that are carried elsewhere: by a version of an app, or in a zone.

    :ivar channel: where they are carried, e.g. ``ios``, ``dns``
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

    @property
    def subject(self) -> str:
        """Its name as it begins a sentence."""
        return f"The release {self.channel} {self.label}"

    def is_the_same_as(self, other: Release) -> bool:
        """Whether it is the same version of the same thing, maybe on record with another date."""
        one, two = ((r.channel, r.label, frozenset(r.pins)) for r in (self, other))
        return one == two

    def also_at(self, other: Release) -> Release:
        """The same, at the names of the other one as well."""
        hosts = tuple(dict.fromkeys((*self.hosts, *other.hosts)))
        return replace(
            self,
            hosts=hosts if self.hosts and other.hosts else (),
            subdomains=self.subdomains or other.subdomains,
        )

    def binds_at(self, hosts: Iterable[str] | None) -> bool:
        """Whether it binds at any of these names; ``None``: at any name at all."""
        return _binds_at(self.hosts, hosts, self.subdomains)

    def binds_until(self, now: datetime) -> datetime:
        """The time from which nobody holds it any more."""
        return self.until + self.ttl

    def may_bind(self, now: datetime) -> bool:
        """Whether somebody may still hold it at *now*."""
        return self.binds_until(now) > now

    def window(self, now: datetime) -> Window:
        """When it is held, seen from *now*."""
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
        """Whether it binds whom it binds at any of these names; ``None``: at any name at all."""
        return bool(self.policy.binding) and _binds_at(self.hosts, hosts, self.subdomains)

    def is_served_at(self, hosts: Iterable[str]) -> bool:
        """Whether it may be served at any of these names, whomever it binds."""
        return self.replaced is None and _binds_at(self.hosts, hosts, self.subdomains)

    def may_bind(self, now: datetime) -> bool:
        """Whether a client may still hold it at *now*, or get it."""
        return bool(self.policy.binding) and (self.replaced is None or self.binds_until(now) > now)

    def also_at(self, hosts: tuple[str, ...]) -> Entry:
        """The same, served at these names as well."""
        if not self.hosts:
            return self
        return replace(self, hosts=tuple(dict.fromkeys((*self.hosts, *hosts))) if hosts else ())

    def binds_until(self, now: datetime) -> datetime:
        """The time from which no client can hold it any more, seen from *now*."""
        return (self.replaced or now) + self.policy.binding

    def window(self, now: datetime) -> Window:
        """When it is held, seen from *now*."""
        return Window("", self.pins, self.recorded, self.replaced, self.binds_until(now))


#: What binds somebody.
Holding = Entry | Release


def _binds_at(served: tuple[str, ...], hosts: Iterable[str] | None, subdomains: bool) -> bool:
    return not served or hosts is None or bool(hostnames.covered(served, hosts, subdomains))


@dataclass(frozen=True)
class Ledger:
    """All policies that may still bind somebody, oldest first.

    :ivar imported: those of other keyrings
    :ivar blind_until: until when policies that are not in here may bind; ``None``: none do
    :ivar seen: the latest moment of what is not on record any more
    :ivar doubt: why nothing follows from it for now, as a part of a sentence; empty: no doubt
    :ivar longest: the longest time for which any policy that was ever on record binds a client; no
        release counts
    :ivar releases: those that may still bind somebody, in the order in which they were added
    :ivar past: the last ones that bind nobody any more, oldest first
    :ivar over: the last releases that ran out by the clock of that time; nothing follows from them
        before the clock is set right
    """

    entries: tuple[Entry, ...] = ()
    blind_until: datetime | None = None
    seen: datetime | None = None
    doubt: str = ""
    longest: timedelta = timedelta(0)
    imported: tuple[Entry, ...] = ()
    releases: tuple[Release, ...] = ()
    past: tuple[Window, ...] = field(default=(), compare=False)
    over: tuple[Release, ...] = ()

    @property
    def holdings(self) -> tuple[Holding, ...]:
        """Everything on record that binds, or bound, somebody."""
        return (*self.known, *self.releases)

    @property
    def known(self) -> tuple[Entry, ...]:
        """Every policy on record, this keyring's own ones last."""
        return (*self.imported, *self.entries)

    @property
    def current(self) -> Entry | None:
        """The policy that is, or is about to be, served."""
        return self.entries[-1] if self.entries else None

    @property
    def pending(self) -> bool:
        """Whether the current policy still waits for Apache to load it."""
        return self.current is not None and self.current.confirmed is None

    def latest(self) -> datetime | None:
        """The latest moment that the ledger knows of."""
        moments_ = [
            moment
            for entry in self.known
            for moment in (entry.recorded, entry.confirmed, entry.replaced)
            if moment is not None
        ]
        moments_ += [release.recorded for release in self.releases]
        return max([*moments_, self.seen] if self.seen else moments_, default=None)

    def record(self, policy: Policy, at: datetime, hosts: tuple[str, ...] = ()) -> Ledger:
        """Note that *policy* is about to be published; the same as the current one: no change, but
        for the hosts.

        :param hosts: the names at which it will be served; empty: it may be anywhere
        """
        current = self.current
        if current is not None and current.policy == policy and not _shrinks(current, hosts):
            return self._with_current(current.also_at(hosts))
        added = Entry(policy, self._not_before(at), hosts=hosts)
        kept = []
        for entry in self.entries:
            if entry.policy != policy or entry.confirmed or entry.replaced:
                kept.append(entry)
            else:
                added = added.also_at(entry.hosts)
        longest = max(self.longest, policy.binding)
        return replace(self, entries=(*kept, added), longest=longest)

    def confirm(self, at: datetime) -> Ledger:
        """Note that Apache has loaded the current policy, which ends all earlier ones; at a moment
        before the latest known one: no change."""
        if self.current is None or self.is_ahead_of(at):
            return self
        earlier = tuple(
            entry if entry.replaced else replace(entry, replaced=at) for entry in self.entries[:-1]
        )
        current = replace(self.current, confirmed=self.current.confirmed or at)
        return replace(self, entries=(*earlier, current))

    def inherit(self, other: Ledger, hosts: tuple[str, ...]) -> Ledger:
        """Note what another keyring served, or may be serving, at hosts that are now this one's.

        :param hosts: the names; what does not bind there is left out
        """
        known = {(entry.policy, entry.recorded, entry.hosts): entry for entry in self.imported}
        for entry in other.known:
            if entry.binds_at(hosts) or entry.is_served_at(hosts):
                known[entry.policy, entry.recorded, hosts] = replace(entry, hosts=hosts)
        blind = max(filter(None, (self.blind_until, other.blind_until)), default=None)
        result = replace(
            self,
            imported=tuple(known.values()),
            blind_until=blind,
            doubt=self.doubt or other.doubt,
            longest=max(self.longest, other.longest),
            over=_last_over(self.over, (one for one in other.over if one.binds_at(hosts))),
        )
        for release in other.releases:
            if release.binds_at(hosts):
                result = result._with_carried(release)
        return result

    def _with_carried(self, release: Release) -> Ledger:
        """The ledger with another keyring's release; one that it has already binds for the longer of
        both times, at the names of both."""
        known = next((one for one in self.releases if one.is_the_same_as(release)), None)
        if known is None:
            return replace(self, releases=(*self.releases, release))
        longer = max(known, release, key=lambda one: one.until + one.ttl)
        merged = replace(known.also_at(release), until=longer.until, ttl=longer.ttl)
        return self._with_release(known, merged)

    def with_release(self, release: Release) -> Ledger:
        """Note a release. One that is on record with the same pins binds at the new names as well as
        at those that it had, and until the new date: what carries it has not changed.

        :raises BadRelease: when it is on record with other pins, or until a later date
        """
        named = self.named(release.channel, release.label)
        known = next((one for one in named if one.is_the_same_as(release)), None)
        if known is not None:
            wider = known.also_at(release)
            return self._with_release(known, wider).extended(wider, release.until, release.ttl)
        if named:
            raise BadRelease(
                f"{named[0].subject} is on record since {times.text(named[0].recorded)} with other pins "
                "than these. Nothing was changed. Give what carries these pins another --label. Where the "
                "one on record is to bind for longer, give 'extend' in place of 'add'."
            )
        added = replace(release, recorded=self._not_before(release.recorded))
        return replace(self, releases=(*self.releases, added))

    def extended(self, release: Release, until: datetime, ttl: timedelta) -> Ledger:
        """Note that a release that is on record is carried until a later date. Of two TTLs the longer
        one counts: what was taken with it is held for so long.

        :raises BadRelease: when it binds for longer already
        """
        bound = release.until + release.ttl
        longer = replace(release, until=max(until, release.until), ttl=max(ttl, release.ttl))
        if until + ttl < bound:
            raise BadRelease(
                f"{release.subject} is on record until {times.text(bound)} already, which is later. "
                "Nothing was changed. Where nobody uses it any more, give 'end' in place of this."
            )
        return self._with_release(release, longer)

    def _with_release(self, known: Release, changed: Release) -> Ledger:
        return replace(
            self, releases=tuple(changed if one == known else one for one in self.releases)
        )

    def named(self, channel: str, label: str) -> tuple[Release, ...]:
        """The releases of this name: several, where lineages brought others of that name along."""
        return tuple(one for one in self.releases if (one.channel, one.label) == (channel, label))

    def ended(self, release: Release, at: datetime) -> Ledger:
        """Note that a release is not carried any more; not dated before the latest known moment."""
        gone = replace(release, until=min(release.until, self._not_before(at)))
        return self._with_release(release, gone)

    def longest_policy(self) -> timedelta:
        """The longest time for which a policy binds that is on record, or was not long ago."""
        held = [
            *(entry.policy.binding for entry in self.known),
            *(one.until - (one.ended or one.since) for one in self.past if not one.what),
        ]
        return max(held, default=timedelta(0))

    def without_hosts(self, hosts: Iterable[str]) -> Ledger:
        """The ledger without what was served at hosts that another keyring has now, and knows of."""
        gone = set(hosts)
        entries = [replace(e, hosts=_others(e.hosts, gone)) for e in self.entries if _left(e, gone)]
        imported = [
            replace(e, hosts=_others(e.hosts, gone)) for e in self.imported if _left(e, gone)
        ]
        releases, over = (
            tuple(replace(r, hosts=_others(r.hosts, gone)) for r in known if _left(r, gone))
            for known in (self.releases, self.over)
        )
        if entries and self.current is not None and not _left(self.current, gone):
            # Nothing is served any more; what was, still binds.
            imported, entries = [*imported, *entries], []
        return replace(
            self,
            entries=tuple(entries),
            imported=tuple(imported),
            releases=releases,
            over=over,
            seen=self.latest(),
        )

    def transferred(self, at: datetime) -> Ledger:
        """Note that Apache sends this keyring's header where others' were sent; at a moment before
        the latest known one: no change."""
        if self.is_ahead_of(at):
            return self
        ended = tuple(
            entry if entry.replaced else replace(entry, replaced=at) for entry in self.imported
        )
        return replace(self, imported=ended)

    def sent(self, policy: Policy, hosts: tuple[str, ...], at: datetime) -> Ledger:
        """Note that hosts were seen sending a policy that no keyring publishes: until now."""
        seen = self._not_before(at)
        known = [
            e for e in self.imported if e.policy == policy and e.hosts == hosts and _awaited(e)
        ]
        others = tuple(entry for entry in self.imported if entry not in known)
        recorded = min((entry.recorded for entry in known), default=seen)
        entry = Entry(policy, recorded, None, seen, hosts)
        longest = max(self.longest, policy.binding)
        return replace(self, imported=(*others, entry), longest=longest)

    def not_sent(self, hosts: Iterable[str], at: datetime) -> Ledger:
        """Note that hosts were seen without what they had been seen sending: until now at most."""
        silent, end = set(hosts), self._not_before(at)
        ended = tuple(
            replace(entry, confirmed=end, replaced=end)
            if _awaited(entry) and silent.issuperset(entry.hosts)
            else entry
            for entry in self.imported
        )
        return replace(self, imported=ended)

    def unseen(
        self, pins: Iterable[str], hosts: tuple[str, ...], at: datetime, held: timedelta
    ) -> Ledger:
        """Note that it is unknown what hosts sent until now, beside these pins.

        :param held: for how long clients are taken to hold it
        """
        if not hosts:
            return self
        begin = self._not_before(at)
        added = Release(*UNSEEN, tuple(dict.fromkeys(pins)), hosts, begin, begin + held)
        return self._with_carried(added)

    def seen_at(self, hosts: Iterable[str]) -> Ledger:
        """Note that hosts were seen, and nothing about them is unknown any more."""
        gone = set(hosts)
        kept = [
            replace(one, hosts=_others(one.hosts, gone)) if one.is_unseen else one
            for one in self.releases
            if not one.is_unseen or _left(one, gone)
        ]
        return replace(self, releases=tuple(kept), seen=self.latest())

    def sending(self, now: datetime) -> tuple[str, ...]:
        """The hosts that may still send what they were seen sending, or could not be seen yet."""
        waiting: list[Holding] = [
            one for one in self.imported if _awaited(one) and one.may_bind(now)
        ]
        waiting += [one for one in self.releases if one.is_unseen and one.may_bind(now)]
        return tuple(dict.fromkeys(host for entry in waiting for host in entry.hosts))

    def is_ahead_of(self, now: datetime) -> bool:
        """Whether it knows of a moment after *now*: the clock runs, or once ran, wrong."""
        latest = self.latest()
        return latest is not None and latest > now

    def with_latest_known(self, moment: datetime) -> Ledger:
        """Note that *moment* has been reached; no change where a later one is known."""
        latest = self.latest()
        if latest is not None and latest >= moment:
            return self
        return replace(self, seen=moment)

    def doubted(self, why: str, others: Iterable[Policy]) -> Ledger:
        """The ledger after something else turned out to have happened than what it says.

        :param why: as a part of a sentence
        :param others: policies that may be served as well, as of now
        """
        result = replace(self, doubt=why)
        latest, current = self.latest(), self.current
        for policy in others:
            if latest is not None and not result.may_be_served(policy):
                result = result.record(policy, latest)
        # What was published last is still what is to be served.
        return (
            result.record(current.policy, latest, current.hosts) if current and latest else result
        )

    def blinded(self, until: datetime) -> Ledger:
        """The ledger out of doubt, with nothing following from it before *until*."""
        return replace(self, doubt="", blind_until=max(until, self.blind_until or until))

    def accept_clock(self, now: datetime) -> Ledger:
        """The ledger of an admin who says that the clock is right now, though later moments are on
        record: those count as now, and what a wrong clock may have made it forget as binding."""
        if not self.is_ahead_of(now):
            return self
        releases = (*self.releases, *(one for one in self.over if one.may_bind(now)))
        until = now + self.longest
        if len(self.over) >= PAST:  # those that ended before these may be forgotten
            until = max(until, min(one.binds_until(now) for one in self.over))
        return replace(
            self,
            entries=tuple(_set_right(entry, now) for entry in self.entries),
            imported=tuple(_set_right(entry, now) for entry in self.imported),
            releases=tuple(replace(r, recorded=min(r.recorded, now)) for r in releases),
            over=tuple(one for one in self.over if not one.may_bind(now)),
            seen=None,
        ).blinded(until)

    def binds_nobody(self, now: datetime) -> bool:
        """Whether it is certain at *now* that no client holds any policy."""
        return not (self.is_uncertain(now) or self.binding(now, now))

    def is_uncertain(self, now: datetime) -> bool:
        """Whether clients may hold what is not on record (G8)."""
        blind = self.blind_until is not None and self.blind_until > now
        return bool(self.doubt) or blind or self.is_ahead_of(now)

    def reopen(self) -> Ledger:
        """Note that Apache has to load the current policy anew."""
        if self.current is None:
            return self
        entries = (*self.entries[:-1], replace(self.current, confirmed=None))
        return replace(self, entries=entries, seen=self.latest())

    def may_be_served(self, policy: Policy) -> bool:
        """Whether *policy* is on record as one that may be served now."""
        return any(entry.policy == policy and entry.replaced is None for entry in self.entries)

    def confirmed_policy(self) -> Policy | None:
        """The policy that Apache is known to have loaded last."""
        confirmed = [entry.policy for entry in self.entries if entry.confirmed is not None]
        return confirmed[-1] if confirmed else None

    def prune(self, now: datetime) -> Ledger:
        """Drop what can bind nobody any more; the current policy stays."""
        kept = tuple(entry for entry in self.entries[:-1] if _is_needed(entry, now))
        imported = tuple(entry for entry in self.imported if _is_needed(entry, now))
        releases = tuple(release for release in self.releases if release.may_bind(now))
        blind = self.blind_until if self.blind_until and self.blind_until > now else None
        pruned = replace(
            self,
            entries=(*kept, *self.entries[-1:]),
            imported=imported,
            blind_until=blind,
            releases=releases,
        )
        if pruned == self:
            return self
        ran_out = [one for one in self.holdings if one not in pruned.holdings]
        past = (*self.past, *(one.window(now) for one in ran_out))[-PAST:]
        ended = (one for one in self.releases if one not in releases)
        return replace(
            pruned,
            seen=max(now, self.seen or now),
            past=past,
            over=_last_over(self.over, ended),
        )

    def binding(self, at: datetime, now: datetime) -> tuple[Holding, ...]:
        """What still binds at *at*, as far as can be told at *now*."""
        return tuple(one for one in self.holdings if one.binds_until(now) > at)

    def _with_current(self, current: Entry) -> Ledger:
        if current == self.current:
            return self
        return replace(self, entries=(*self.entries[:-1], current))

    def _not_before(self, at: datetime) -> datetime:
        latest = self.latest()
        return at if latest is None else max(at, latest)


def _last_over(*lists: Iterable[Release]) -> tuple[Release, ...]:
    """Of the releases that ran out, those that ended last, each once."""
    known = dict.fromkeys(release for one in lists for release in one)
    return tuple(sorted(known, key=lambda one: one.until + one.ttl)[-PAST:])


def _awaited(entry: Entry) -> bool:
    """Whether it was seen being sent, and not seen to be gone since."""
    return entry.replaced is not None and entry.confirmed is None and bool(entry.hosts)


def _shrinks(entry: Entry, hosts: tuple[str, ...]) -> bool:
    """Whether Apache, which serves it, is to serve it at fewer hosts."""
    return entry.confirmed is not None and not set(entry.hosts) <= set(hosts)


def _left(one: Holding, gone: set[str]) -> bool:
    """Whether it is, or was, served at other hosts, too."""
    return not one.hosts or bool(_others(one.hosts, gone))


def _others(hosts: tuple[str, ...], gone: set[str]) -> tuple[str, ...]:
    return tuple(host for host in hosts if host not in gone)


def _set_right(entry: Entry, now: datetime) -> Entry:
    return replace(
        entry,
        recorded=min(entry.recorded, now),
        confirmed=min(entry.confirmed, now) if entry.confirmed else None,
        replaced=min(entry.replaced, now) if entry.replaced else None,
    )


def _is_needed(entry: Entry, now: datetime) -> bool:
    return entry.replaced is None or entry.binds_until(now) > now
