"""The history of policies: what was, or may have been, served, and until when it binds. Pure.

The rules:

* A policy is recorded before it is published: from then on it *may* be served, at the hosts that it
  was published for. It binds there (see ``reach``), and nowhere else.
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
* What other keyrings served at hosts that are now this one's is inherited: it binds there as it did.
  It may be served until it is known that Apache sends this keyring's header there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from certbot_pinkeep import moments, reach
from certbot_pinkeep.policy import Policy


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

    def binds_at(self, hosts: Iterable[str] | None) -> bool:
        """Whether it binds whom it binds at any of these names; ``None``: at any name at all."""
        if not self.policy.binding:
            return False
        subdomains = self.policy.include_subdomains
        return not self.hosts or hosts is None or bool(reach.covered(self.hosts, hosts, subdomains))

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


@dataclass(frozen=True)
class Ledger:
    """All policies that may still bind somebody, oldest first.

    :ivar inherited: those of other keyrings
    :ivar blind_until: until when policies that are not in here may bind; ``None``: none do
    :ivar seen: the latest moment of what is not on record any more
    :ivar doubt: why nothing follows from it for now, as a part of a sentence; empty: no doubt
    :ivar longest: the longest time for which any policy that was ever on record binds a client
    """

    entries: tuple[Entry, ...] = ()
    blind_until: datetime | None = None
    seen: datetime | None = None
    doubt: str = ""
    longest: timedelta = timedelta(0)
    inherited: tuple[Entry, ...] = ()

    @property
    def known(self) -> tuple[Entry, ...]:
        """Every policy on record, this keyring's own ones last."""
        return (*self.inherited, *self.entries)

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
        return max([*moments_, self.seen] if self.seen else moments_, default=None)

    def record(self, policy: Policy, at: datetime, hosts: tuple[str, ...] = ()) -> Ledger:
        """Note that *policy* is about to be published; the same as the current one: no change, but
        for the hosts.

        :param hosts: the names at which it will be served; empty: it may be anywhere
        """
        if self.current is not None and self.current.policy == policy:
            return self._with_current(self.current.also_at(hosts))
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
        known = {(entry.policy, entry.recorded, entry.hosts): entry for entry in self.inherited}
        for entry in other.known:
            if entry.binds_at(hosts):
                known[entry.policy, entry.recorded, hosts] = replace(entry, hosts=hosts)
        blind = max(filter(None, (self.blind_until, other.blind_until)), default=None)
        return replace(
            self,
            inherited=tuple(known.values()),
            blind_until=blind,
            doubt=self.doubt or other.doubt,
            longest=max(self.longest, other.longest),
        )

    def moved(self, at: datetime) -> Ledger:
        """Note that Apache sends this keyring's header where others' were sent; at a moment before
        the latest known one: no change."""
        if self.is_ahead_of(at):
            return self
        ended = tuple(
            entry if entry.replaced else replace(entry, replaced=at) for entry in self.inherited
        )
        return replace(self, inherited=ended)

    def is_ahead_of(self, now: datetime) -> bool:
        """Whether it knows of a moment after *now*: the clock runs, or once ran, wrong."""
        latest = self.latest()
        return latest is not None and latest > now

    def noticed(self, moment: datetime) -> Ledger:
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

    def set_right(self, now: datetime) -> Ledger:
        """The ledger of an admin who says that the clock is right now, though later moments are on
        record: those count as now, and what a wrong clock may have made it forget as binding."""
        if not self.is_ahead_of(now):
            return self
        return replace(
            self,
            entries=tuple(_set_right(entry, now) for entry in self.entries),
            inherited=tuple(_set_right(entry, now) for entry in self.inherited),
            seen=None,
        ).blinded(now + self.longest)

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
        inherited = tuple(entry for entry in self.inherited if _is_needed(entry, now))
        blind = self.blind_until if self.blind_until and self.blind_until > now else None
        pruned = replace(
            self, entries=(*kept, *self.entries[-1:]), inherited=inherited, blind_until=blind
        )
        return self if pruned == self else replace(pruned, seen=max(now, self.seen or now))

    def binding(self, at: datetime, now: datetime) -> tuple[Entry, ...]:
        """The policies that still bind at *at*, as far as can be told at *now*."""
        return tuple(entry for entry in self.known if entry.binds_until(now) > at)

    def _with_current(self, current: Entry) -> Ledger:
        if current == self.current:
            return self
        return replace(self, entries=(*self.entries[:-1], current))

    def _not_before(self, at: datetime) -> datetime:
        latest = self.latest()
        return at if latest is None else max(at, latest)


def _set_right(entry: Entry, now: datetime) -> Entry:
    return replace(
        entry,
        recorded=min(entry.recorded, now),
        confirmed=min(entry.confirmed, now) if entry.confirmed else None,
        replaced=min(entry.replaced, now) if entry.replaced else None,
    )


def _is_needed(entry: Entry, now: datetime) -> bool:
    return entry.replaced is None or entry.binds_until(now) > now


def write(entries: Iterable[Entry]) -> dict[str, dict[str, str | list[str]]]:
    """The entries as sections of text, in order (see :func:`read`)."""
    return {str(number): _write_entry(entry) for number, entry in enumerate(entries, 1)}


def _write_entry(entry: Entry) -> dict[str, str | list[str]]:
    policy = entry.policy
    return {
        "pins": list(policy.pins),
        "max_age": str(policy.max_age),
        "include_subdomains": str(policy.include_subdomains),
        "report_uri": policy.report_uri or "",
        "report_only": str(policy.report_only),
        "hosts": list(entry.hosts),
        "recorded": moments.text(entry.recorded),
        "confirmed": moments.text(entry.confirmed) if entry.confirmed else "",
        "replaced": moments.text(entry.replaced) if entry.replaced else "",
    }


def read(
    sections: Mapping[str, Mapping[str, str | list[str]]], ordered: bool = True
) -> tuple[Entry, ...]:
    """Read what :func:`write` wrote.

    :param ordered: whether they are one keyring's, and follow each other
    :raises ValueError, KeyError, BadPolicy: when a section is not one of ours, or they contradict
        each other
    """
    entries = tuple(_read_entry(section) for section in sections.values())
    for entry in entries:
        known = [m for m in (entry.recorded, entry.confirmed, entry.replaced) if m is not None]
        if known != sorted(known):
            raise ValueError("a policy was replaced or confirmed before it was recorded")
    if ordered:
        _check_order(entries)
    return entries


def _check_order(entries: tuple[Entry, ...]) -> None:
    recorded = [entry.recorded for entry in entries]
    if recorded != sorted(recorded):
        raise ValueError("the policies are not in the order of time")
    if entries and entries[-1].replaced is not None:
        raise ValueError("the last policy was replaced by none")


def _read_entry(section: Mapping[str, str | list[str]]) -> Entry:
    def one(name: str) -> str:
        value = section[name]
        if not isinstance(value, str):
            raise ValueError(f"{name} is a list")
        return value

    def moment(name: str) -> datetime | None:
        return moments.parse(one(name)) if one(name) else None

    def several(name: str) -> tuple[str, ...]:
        value = section[name]
        return tuple(value) if isinstance(value, list) else (value,)

    return Entry(
        Policy(
            pins=several("pins"),
            max_age=int(one("max_age")),
            include_subdomains=read_bool(one("include_subdomains")),
            report_uri=one("report_uri") or None,
            report_only=read_bool(one("report_only")),
        ),
        recorded=moments.parse(one("recorded")),
        confirmed=moment("confirmed"),
        replaced=moment("replaced"),
        hosts=several("hosts"),
    )


def read_bool(written: str) -> bool:
    """``True`` or ``False`` as :func:`str` writes them.

    :raises ValueError: for anything else
    """
    if written not in ("True", "False"):
        raise ValueError(f"neither True nor False: {written!r}")
    return written == "True"
