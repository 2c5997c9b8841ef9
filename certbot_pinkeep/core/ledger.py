"""The history of policies: what was, or may have been, served, and until when it binds. Pure.

The rules:

* A policy is recorded before it is published: from then on it *may* be served, at the hosts that it was
  published for. A policy binds there (see ``holdings``), and nowhere else.
* If the same policy goes on at fewer hosts, it ends at the others as a policy does: when Apache is known to
  have loaded what is published now.
* A policy is confirmed once Apache has loaded it. Only the confirmation of a later policy ends it: until then
  it may still be served, even when a later one is already recorded.
* Time in the ledger never runs backwards: what happens after a recorded time is not dated before
  it. A confirmation at a time before the latest known one ends nothing: how long the earlier
  policies were served cannot be told from a clock that was set back (G8).
* What can bind nobody any more has expired, except for the current policy; one that is pending twice
  is kept once. So the ledger stays small for ever.
* The last few that expired are remembered, and the time at which they did: a clock that was set far
  ahead may have ended them too early. Once the admin says that the clock is right, they bind again, until
  their own end. What expired before those may bind until the first of them had ended.
* Uncertainty is one value: why clients may hold what is not on record, and until when. Its end is unknown if
  nobody has looked into it yet, or if the clock was set back. Then nothing follows from the ledger (G8).
  Uncertainty is never forgotten.
* What other keyrings served at hosts that are now this one's is imported: it binds there as it did. An
  imported policy may be served until Apache is known to send this keyring's header there; also what binds
  nobody now is noted until then, because what follows it may.
* The records of a zone are on record for each port (see ``zone``).
* What is told of a release later makes it bind for longer and at more names, never less; only its end
  makes it end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from certbot_pinkeep.core import times
from certbot_pinkeep.core.errors import BadRelease
from certbot_pinkeep.core.holdings import (
    Entry,
    Holding,
    Release,
    Window,
    ZoneEntry,
    known_by,
    without,
)
from certbot_pinkeep.core.pins import FORGOTTEN
from certbot_pinkeep.core.policy import Policy

#: How many are remembered of what expired.
MOST_EXPIRED = 24


@dataclass(frozen=True)
class Uncertainty:
    """Until when clients may hold what is not on record, and why (G8).

    :ivar why: as a part of a sentence
    :ivar until: from when nobody holds it any more, at the earliest; ``None``: unknown
    :ivar cause: what keeps the end unknown: in ``doubt`` nobody has looked into it yet; the ``clock`` was
        set back; empty: nothing, it ends by itself
    """

    why: str
    until: datetime | None = None
    cause: Literal["", "doubt", "clock"] = ""

    @property
    def end(self) -> datetime | None:
        """From when nobody holds it any more; ``None``: unknown."""
        return None if self.cause else self.until


def _joined(*both: Uncertainty | None) -> Uncertainty | None:
    """Return two as one: what has no known end counts first, then what ends last."""
    known = [one for one in both if one]
    first = max(known, key=lambda one: (bool(one.cause), one.until or times.EARLIEST), default=None)
    ends = [one.until for one in known if one.until]
    return replace(first, until=max(ends, default=None)) if first else None


@dataclass(frozen=True)
class Ledger:
    """All policies that may still bind somebody, oldest first.

    :ivar imported: those of other keyrings, and what hosts sent before they were pinned
    :ivar releases: those that may still bind somebody, in the order in which they were added
    :ivar expired: the last ones that expired by the clock of that time, in the order of their ends; nothing
        follows from them before the clock is set right
    :ivar uncertain: what else clients may hold; ``None``: everything is on record
    :ivar latest_known: the latest known time of what is not on record any more
    :ivar zone: the TLSA records that may still bind somebody, in the order in which they were recorded
    """

    entries: tuple[Entry, ...] = ()
    imported: tuple[Entry, ...] = ()
    releases: tuple[Release, ...] = ()
    expired: tuple[Holding, ...] = ()
    uncertain: Uncertainty | None = None
    latest_known: datetime | None = None
    zone: tuple[ZoneEntry, ...] = ()

    # What it says

    @property
    def holdings(self) -> tuple[Holding, ...]:
        """Everything on record that binds, or bound, somebody."""
        return (*self.known, *self.releases, *self.zone)

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
        """Return the latest time that the ledger knows of."""
        entries: tuple[Entry | ZoneEntry, ...] = (*self.known, *self.zone)
        known = [self.latest_known, *(release.recorded for release in self.releases)]
        for entry in entries:
            known += [entry.recorded, entry.confirmed, entry.replaced]
        return max((time for time in known if time is not None), default=None)

    def is_ahead_of(self, now: datetime) -> bool:
        """Return whether it knows of a time after *now*: the clock runs, or once ran, wrong."""
        return self.not_before(now) > now

    @property
    def in_doubt(self) -> bool:
        """Whether nobody has looked into what is uncertain yet."""
        return self.uncertain is not None and bool(self.uncertain.cause)

    def uncertainty(self, now: datetime) -> Uncertainty | None:
        """Return what clients may hold at *now* that is not on record (G8); ``None``: nothing."""
        latest, known = self.not_before(now), self.uncertain
        if known is not None and known.cause:
            return known
        if latest > now:
            reached = (
                f"the clock says {times.text(now)}, but {times.text(latest)} was reached before"
            )
            return Uncertainty(reached, cause="clock")
        return known if known is not None and known.until and known.until > now else None

    def binding(self, now: datetime) -> tuple[Holding, ...]:
        """Return what still binds at *now*."""
        return tuple(one for one in self.holdings if one.binds_until(now) > now)

    def binds_nobody(self, now: datetime) -> bool:
        """Return whether it is certain at *now* that no client holds any policy."""
        return not (self.uncertainty(now) or self.binding(now))

    @property
    def past(self) -> tuple[Window, ...]:
        """When what expired was held, to be shown."""
        known = (one for one in self.expired if one.pins != FORGOTTEN)
        return tuple(one.window(times.EARLIEST) for one in known)

    def longest_policy(self) -> timedelta:
        """Return the longest time for which a policy binds that is on record, or was not long ago."""
        policies = (one for one in (*self.known, *self.expired) if isinstance(one, Entry))
        return max((entry.policy.binding for entry in policies), default=timedelta(0))

    def may_be_served(self, policy: Policy) -> bool:
        """Return whether *policy* is on record as one that may be served now."""
        return any(entry.policy == policy and entry.replaced is None for entry in self.entries)

    def confirmed_policy(self) -> Policy | None:
        """Return the policy that Apache is known to have loaded last."""
        confirmed = (entry.policy for entry in reversed(self.entries) if entry.confirmed)
        return next(confirmed, None)

    def sending(self, now: datetime) -> tuple[str, ...]:
        """Return the hosts that may still send what they were seen sending, or could not be seen yet."""
        awaited: list[Entry | Release] = [
            *(one for one in self.imported if one.is_awaited),
            *(one for one in self.releases if one.is_unseen),
        ]
        waiting = (one for one in awaited if one.may_bind(now))
        return tuple(dict.fromkeys(host for one in waiting for host in one.hosts))

    # What is published

    def record(self, policy: Policy, at: datetime, hosts: tuple[str, ...] = ()) -> Ledger:
        """Note that *policy* is about to be published; the same as the current one: no change, but
        for the hosts.

        :param hosts: the names at which it will be served; empty: it may be anywhere
        """
        current = self.current
        if current is not None and current.policy == policy and not _shrinks(current, hosts):
            return replace(self, entries=(*self.entries[:-1], current.also_at(hosts)))
        added = Entry(policy, self.not_before(at), hosts=hosts)
        pending = [
            one
            for one in self.entries
            if one.policy == policy and not one.confirmed and not one.replaced
        ]
        for one in pending:
            added = added.also_at(one.hosts)
        return replace(self, entries=(*(e for e in self.entries if e not in pending), added))

    def confirm(self, at: datetime) -> Ledger:
        """Note that Apache has loaded the current policy, which ends all earlier ones; at a time
        before the latest known one: no change."""
        if self.current is None or self.is_ahead_of(at):
            return self
        current = replace(self.current, confirmed=self.current.confirmed or at)
        return replace(self, entries=(*_replaced(self.entries[:-1], at), current))

    def reopen(self) -> Ledger:
        """Note that Apache has to load the current policy anew."""
        if self.current is None:
            return self
        entries = (*self.entries[:-1], replace(self.current, confirmed=None))
        return replace(self, entries=entries, latest_known=self.latest())

    def prune(self, now: datetime) -> Ledger:
        """Drop what can bind nobody any more; the current policy stays."""
        pruned = replace(
            self,
            entries=(*(e for e in self.entries[:-1] if e.is_needed(now)), *self.entries[-1:]),
            imported=tuple(entry for entry in self.imported if entry.is_needed(now)),
            releases=tuple(release for release in self.releases if release.may_bind(now)),
            zone=tuple(entry for entry in self.zone if entry.may_bind(now)),
        )
        if pruned == self:
            return self
        kept = set(pruned.holdings)
        gone = (one for one in self.holdings if one not in kept)
        latest = max(now, self.latest_known or now)
        return replace(pruned, latest_known=latest)._with_expired(gone)

    # Hosts that change keyrings

    def with_imported(self, other: Ledger, hosts: tuple[str, ...]) -> Ledger:
        """Note what another keyring served, or may be serving, at hosts that are now this one's.

        :param hosts: the names; what does not bind there is left out
        """
        known = {(entry.policy, entry.recorded, entry.hosts): entry for entry in self.imported}
        for entry in other.known:
            if entry.binds_at(hosts) or entry.is_served_at(hosts):
                known[entry.policy, entry.recorded, hosts] = replace(entry, hosts=hosts)
        result = replace(
            self,
            imported=tuple(known.values()),
            zone=self._zone_with(one for one in other.zone if one.binds_at(hosts)),
            uncertain=_joined(self.uncertain, other.uncertain),
        )._with_expired(e for e in other.expired if e.binds_at(hosts))
        if (latest := other.latest()) is not None:
            result = result.with_latest_known(latest)
        for release in other.releases:
            if release.binds_at(hosts):
                result = result.with_carried(release)
        return result

    def _zone_with(self, others: Iterable[ZoneEntry]) -> tuple[ZoneEntry, ...]:
        """Add another keyring's records of the zone. What is known here of a set that both have counts."""
        known = {(one.port, one.pins, one.recorded): one for one in self.zone}
        for one in others:
            mine = known.setdefault((one.port, one.pins, one.recorded), one)
            known[one.port, one.pins, one.recorded] = replace(mine, ttl=max(mine.ttl, one.ttl))
        return tuple(known.values())

    def without_hosts(self, hosts: Iterable[str]) -> Ledger:
        """Return the ledger without what was served at hosts that another keyring has now, and knows
        of."""
        gone = set(hosts)
        entries, imported = (without(known, gone) for known in (self.entries, self.imported))
        if entries and not without(self.entries[-1:], gone):
            # Nothing is served any more; what was, still binds.
            imported, entries = [*imported, *entries], []
        return replace(
            self,
            entries=tuple(entries),
            imported=tuple(imported),
            releases=tuple(without(self.releases, gone)),
            zone=tuple(without(self.zone, gone)),
            expired=tuple(without(self.expired, gone)),
            latest_known=self.latest(),
        )

    def transferred(self, at: datetime) -> Ledger:
        """Note that Apache sends this keyring's header in place of other keyrings'; at a time before the
        latest known one: no change."""
        if self.is_ahead_of(at):
            return self
        return replace(self, imported=tuple(_replaced(self.imported, at)))

    # Releases

    def with_carried(self, release: Release) -> Ledger:
        """Return the ledger with another keyring's release; one that it has already binds for the longer
        of both times, at the names of both."""
        known = next((one for one in self.releases if one.is_the_same_as(release)), None)
        if known is None:
            return replace(self, releases=(*self.releases, release))
        longer = max(known, release, key=lambda one: one.until + one.ttl)
        merged = replace(known.also_at(release), until=longer.until, ttl=longer.ttl)
        return self._with_release(known, merged)

    def with_release(self, release: Release) -> Ledger:
        """Note a release. One that is on record with the same pins binds at the new names, too, and until the
        new date: what carries it has not changed.

        :raises BadRelease: if it is on record with other pins, or until a later date
        """
        named = self.named(release.channel, release.label)
        known = next((one for one in named if one.is_the_same_as(release)), None)
        if known is not None:
            wider = known.also_at(release)
            return self._with_release(known, wider).extended(wider, release.until, release.ttl)
        if named:
            raise BadRelease(
                f"Since {times.text(named[0].recorded)}, {named[0]} is on record with other pins.",
                "Give what carries these pins another --label. If the one on record is to bind for longer, "
                "give 'extend' in place of 'add'.",
            )
        added = replace(release, recorded=self.not_before(release.recorded))
        return replace(self, releases=(*self.releases, added))

    def extended(self, release: Release, until: datetime, ttl: timedelta) -> Ledger:
        """Note that a release that is on record is carried until a later date. Of two TTLs the longer
        one counts: what was taken with it is held for so long.

        :raises BadRelease: if it binds for longer already
        """
        bound = release.until + release.ttl
        longer = replace(release, until=max(until, release.until), ttl=max(ttl, release.ttl))
        if until + ttl < bound:
            raise BadRelease(
                f"Until {times.text(bound)}, {release} is on record already, which is later.",
                "If nobody uses it any more, give 'end' in place of this.",
            )
        return self._with_release(release, longer)

    def named(self, channel: str, label: str) -> tuple[Release, ...]:
        """Return the releases of this name: several, if transferred lineages had others of that name."""
        return tuple(one for one in self.releases if (one.channel, one.label) == (channel, label))

    def ended(self, release: Release, at: datetime) -> Ledger:
        """Note that a release is not carried any more; not dated before the latest known time."""
        gone = replace(release, until=min(release.until, self.not_before(at)))
        return self._with_release(release, gone)

    def _with_release(self, known: Release, changed: Release) -> Ledger:
        return replace(
            self, releases=tuple(changed if one == known else one for one in self.releases)
        )

    # What is uncertain

    def with_latest_known(self, time: datetime) -> Ledger:
        """Note that *time* has been reached; no change if a later one is known."""
        return self if self.not_before(time) == self.latest() else replace(self, latest_known=time)

    def with_uncertainty(self, why: str, until: datetime | None = None) -> Ledger:
        """Note that clients may hold what is not on record.

        :param why: as a part of a sentence
        :param until: from when they hold it no more; ``None``: nobody has looked into it yet
        """
        added = Uncertainty(why, until, "" if until else "doubt")
        return replace(self, uncertain=_joined(self.uncertain, added))

    def contradicted(self, why: str, others: Iterable[Policy]) -> Ledger:
        """Return the ledger after something else turned out to have happened than what it says.

        :param why: as a part of a sentence
        :param others: policies that may be served as well, as of now
        """
        result, latest, current = self.with_uncertainty(why), self.latest(), self.current
        if latest is None:
            return result
        for policy in others:
            if not result.may_be_served(policy):
                result = result.record(policy, latest)
        # What was published last is still what is to be served.
        return result.record(current.policy, latest, current.hosts) if current else result

    def settled(self, until: datetime) -> Ledger:
        """Note that somebody looked into what is uncertain: it ends then, not before."""
        if self.uncertain is None:
            return self
        until = max(until, self.uncertain.until or until)
        return replace(self, uncertain=replace(self.uncertain, until=until, cause=""))

    def accept_clock(self, now: datetime) -> Ledger:
        """Return the ledger of an admin who says that the clock is right now, though later times are on
        record: those count as now, and what a wrong clock made expire may bind again."""
        if not self.is_ahead_of(now):
            return self
        known = {one: known_by(one, now) for one in self.expired}
        back = [one for one in known.values() if one.may_bind(now)]
        # Nothing is awaited of what is back: who still sends it is seen to do so.
        ended = (one for one in back if isinstance(one, Entry))
        entries = tuple(replace(one, confirmed=one.confirmed or one.replaced) for one in ended)
        releases = tuple(one for one in back if isinstance(one, Release))
        zone = tuple(one for one in back if isinstance(one, ZoneEntry))
        right = replace(
            self,
            entries=tuple(known_by(one, now) for one in self.entries),
            imported=(*(known_by(one, now) for one in self.imported), *entries),
            releases=(*(known_by(one, now) for one in self.releases), *releases),
            zone=(*(known_by(one, now) for one in self.zone), *zone),
            expired=tuple(one for one, then in known.items() if not then.may_bind(now)),
            latest_known=None,
        )
        if len(self.expired) < MOST_EXPIRED:
            return right
        first = min(one.binds_until(now) for one in self.expired)
        return right.with_uncertainty("the clock ran ahead", first) if first > now else right

    def not_before(self, at: datetime) -> datetime:
        """*at*, or the latest known time, if that is later."""
        return max(at, self.latest() or at)

    def _with_expired(self, gone: Iterable[Holding]) -> Ledger:
        """Return the ledger with more that expired. What is not kept may bind until the last of it had
        ended."""
        ends = {one: one.binds_until(times.LATEST) for one in (*self.expired, *gone)}
        found = sorted(ends, key=lambda one: ends[one])
        result = replace(self, expired=tuple(found[-MOST_EXPIRED:]))
        if len(found) <= MOST_EXPIRED:
            return result
        return result.with_uncertainty("the clock ran ahead", ends[found[-MOST_EXPIRED - 1]])


def _shrinks(entry: Entry, hosts: tuple[str, ...]) -> bool:
    """Return whether Apache, which serves it, is to serve it at fewer hosts."""
    return entry.confirmed is not None and not set(entry.hosts) <= set(hosts)


def _replaced(entries: Iterable[Entry], at: datetime) -> Iterable[Entry]:
    return (entry if entry.replaced else replace(entry, replaced=at) for entry in entries)
