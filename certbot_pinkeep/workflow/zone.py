"""A zone that carries a keyring's pins: looked at, recorded, written, and looked at again.

The rules:

* What was seen is saved before anything follows from it. What is about to be written is saved before it is
  (G5): after a kill in between, a set is on record that may come, and the next run writes it again.
* A name that has records of several ports (by aliases) is changed only if all of them agree.
* Nothing is believed of a change before the name servers were seen to have it (G13). What is not there in a
  few seconds is looked for at the next run.
* Failures here never hold a renewal up (G3). They are told when certbot ends.
* Before a rollover the name servers are asked anew, however late the last look was.
* A run looks at most once a day, if nothing is pending: see ``core.zone``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from certbot_pinkeep.adapters import clock
from certbot_pinkeep.carriers.zones import Change
from certbot_pinkeep.core import zone
from certbot_pinkeep.core.errors import BadOption, PinkeepError
from certbot_pinkeep.core.options import Options
from certbot_pinkeep.core.state import State
from certbot_pinkeep.core.text import listed, sentence
from certbot_pinkeep.core.tlsa import Port
from certbot_pinkeep.core.zone import Missing, Wanted
from certbot_pinkeep.core.zone_observations import OwnerObservation, PortObservation, Records
from certbot_pinkeep.workflow.looks import Looks
from certbot_pinkeep.workflow.workspace import Workspace

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What was seen of a keyring's zone and ports, and done.

    :ivar changes: what the zone is to have, and had not; by the name of its zone
    :ivar written: whether that was written
    :ivar missing: what keeps the records from being as they are to be
    :ivar errors: what went wrong, as sentences
    """

    keyring: str
    listed: tuple[Port, ...]
    want: Wanted
    looks: tuple[OwnerObservation, ...]
    ports: tuple[PortObservation, ...]
    changes: dict[str, list[Change]] = field(default_factory=dict)
    written: bool = False
    missing: tuple[Missing, ...] = ()
    errors: tuple[str, ...] = ()

    @property
    def waits(self) -> bool:
        """Whether all that is missing comes by itself."""
        return not self.errors and all(one.waits for one in self.missing)

    def error(self) -> PinkeepError | None:
        """Return what to tell the admin, who has to do something; ``None``: nothing."""
        if self.waits:
            return None
        where: dict[str, list[str]] = {}
        for one in self.missing:
            if not one.waits:
                where.setdefault(one.why, []).append(one.where)
        wrong = [f"{', '.join(some)}: {why}" for why, some in where.items()]
        return PinkeepError(
            f"The zone or a port of the keyring {self.keyring} is not as it should be.",
            listed((*self.errors, *self._left(), *wrong)),
            run=f"certbot-pinkeep dns {self.keyring}",
        )

    def _left(self) -> list[str]:
        """Say how to leave ports that are not on the list, if their name servers do not answer."""
        left = [str(one.port) for one in self.looks if one.errors and one.port not in self.listed]
        return [
            f"{where} is not on the list of --pinkeep-tlsa. If its name servers are gone for good, give "
            f"'certbot-pinkeep dns {self.keyring} --gone {where}'."
            for where in left
        ]


def has_zone(state: State) -> bool:
    """Return whether the keyring's keys are, or were, pinned in a zone."""
    return bool(state.settings.get("tlsa") or state.ledger.zone)


def before_rollover(
    workspace: Workspace, state: State, chosen: Options | None, now: datetime, *, dry_run: bool
) -> State:
    """Ask the name servers anew, and return the state with what they show.

    :param chosen: the options of this run, which may name ports for the first time; ``None``: those on record
    """
    if chosen is not None and chosen.keyring == state.keyring.name:
        state = replace(state, settings={**state.settings, **chosen.settings})
    if not has_zone(state):
        return state
    ttl, listed = _ttl(state), _listed(workspace, state)[0]
    ports, began = zone.looked_at(listed, state.ledger), clock.seconds()
    looks = Looks(workspace.eyes).records(ports)
    at = clock.after(now, began)
    if dry_run:
        return _with_looks(state, looks, listed, ttl, at)
    try:
        with workspace.store.locked():
            fresh = _on_record(workspace, state, at)
            seen = workspace.store.save(_with_looks(fresh, looks, listed, ttl, at))
    except OSError as error:
        logger.error("What the name servers show is heeded, but could not be recorded: %s", error)
        return _with_looks(state, looks, listed, ttl, at)
    ledger = seen.ledger.with_latest_known(workspace.store.latest_known(now))
    # Another keyring that a lineage moves from may have published something meanwhile.
    return workspace.with_incoming(replace(state, ledger=ledger, saved=seen.saved))


def forget(workspace: Workspace, name: str, where: str, now: datetime) -> datetime:
    """Record that a port's records are gone, though its name servers cannot be asked any more.

    :param where: the port, as ``HOST:PORT``
    :returns: from when no resolver holds the records
    :raises PinkeepError: if that is not so, or cannot be told
    """
    state = workspace.load_state(name, now)
    open_ = [] if state is None else [one for one in state.ledger.zone if str(one.port) == where]
    if state is None or not any(one.replaced is None for one in open_):
        raise PinkeepError(f"No records of {where} wait for name servers in the keyring {name}.")
    if where in map(str, _listed(workspace, state)[0]):
        raise PinkeepError(
            f"{where} is on the list of --pinkeep-tlsa.", "Give a list without this port first."
        )
    looks = Looks(workspace.eyes).records([open_[0].port])
    if any(one.binds for look in looks for records, _ in look.sets for one in records):
        raise PinkeepError(f"A name server still shows records of {where}.", "Delete them first.")
    with workspace.store.locked():
        fresh = _on_record(workspace, state, now)
        kept = workspace.store.save(replace(fresh, ledger=zone.with_gone(fresh.ledger, where, now)))
    ends = [one.binds_until(now) for one in kept.ledger.zone if str(one.port) == where]
    return max(ends, default=now)


def _on_record(workspace: Workspace, state: State, at: datetime) -> State:
    """Return what is on record of the keyring now. If the clock was set back, tell the ledger of the later
    time."""
    fresh = workspace.store.load(state.keyring.name) or state
    latest = workspace.store.latest_known(at)
    if latest <= at:
        return fresh
    return replace(fresh, ledger=fresh.ledger.with_latest_known(latest))


def _with_looks(
    state: State,
    looks: Iterable[OwnerObservation],
    listed: Sequence[Port],
    ttl: timedelta,
    at: datetime,
) -> State:
    ledger = zone.with_new_ports(state.ledger, state.services, listed, ttl=ttl, at=at)
    for look in looks:
        ledger = zone.with_looked(ledger, look, ttl, at)
    return replace(state, ledger=ledger.prune(at))


@dataclass(frozen=True)
class _Due:
    """A keyring whose zone and ports are to be looked at.

    :ivar errors: what is wrong with the list of ports, as sentences
    """

    name: str
    state: State
    listed: tuple[Port, ...]
    errors: list[str]

    @property
    def ports(self) -> tuple[Port, ...]:
        """The ports whose records are to be looked at."""
        return zone.looked_at(self.listed, self.state.ledger)


def bring_all_up_to_date(
    workspace: Workspace, names: Iterable[str], now: datetime
) -> dict[str, Outcome | PinkeepError | OSError]:
    """Look at the zones and ports of keyrings for which that is due, and write what the zones lack.

    :returns: what became of each of them
    """
    found: dict[str, Outcome | PinkeepError | OSError] = {}
    dues = []
    for name in names:
        try:
            if due := _due(workspace, name, now, always=False):
                dues.append(due)
        except (PinkeepError, OSError) as error:
            found[name] = error
    looks = Looks(workspace.eyes)
    began = clock.seconds()
    looks.ahead([(one.ports, one.listed) for one in dues])
    for due in dues:
        try:
            found[due.name] = _brought(workspace, due, clock.after(now, began), looks)
        except (PinkeepError, OSError) as error:
            found[due.name] = error
    return found


def bring_up_to_date(
    workspace: Workspace, name: str, now: datetime, *, always: bool = True, dry_run: bool = False
) -> Outcome | None:
    """Look at the zone and the ports of a keyring, write what the zone lacks, and look again.

    :param always: whether to look also if the last look was less than a day ago, and nothing is pending
    :param dry_run: only look; nothing is written, not even what was seen
    :returns: ``None``: it has no zone, or no look is due
    :raises PinkeepError: if its file or its options cannot be used
    """
    due = _due(workspace, name, now, always=always)
    return _brought(workspace, due, now, Looks(workspace.eyes), dry_run=dry_run) if due else None


def _due(workspace: Workspace, name: str, now: datetime, *, always: bool) -> _Due | None:
    state = workspace.load_state(name, now)
    if state is None or not has_zone(state):
        return None
    due = _Due(name, state, *_listed(workspace, state))
    if not due.ports and not due.errors:
        return None
    return due if always or due.errors or _is_due(state, due.listed, now) else None


def _brought(
    workspace: Workspace, due: _Due, now: datetime, eyes: Looks, *, dry_run: bool = False
) -> Outcome:
    """Look, write, and look again.

    :raises PinkeepError: if the options cannot be used, or no time is left
    """
    name, state, listed, errors = due.name, due.state, due.listed, due.errors
    chosen, ports, leaves = state.chosen(), due.ports, state.unpin
    eyes.check_time(name)
    began = clock.seconds()
    looks, shown = eyes.records(ports), eyes.loaded_services(state.keyring, listed)
    at = clock.after(now, began)
    keep = _Kept(workspace, name, listed, timedelta(seconds=chosen.tlsa_ttl), dry_run=dry_run)
    state = keep.looked(state, looks, at, shown)
    want = zone.wanted(state.keyring, state.services, listed, at, leaves=leaves)
    before, more = _read(eyes, chosen, looks)
    errors += more
    changes = _changes(looks, before, want, state, chosen)
    outcome = Outcome(name, listed, want, tuple(looks), tuple(shown), changes)
    if changes and chosen.dns_credentials and not dry_run:
        state = keep.written(state, looks, changes, clock.after(now, began))
        written, more = _write(eyes, chosen.dns_credentials, changes)
        errors += more
        looks = eyes.see(ports, looks, written) if written else looks
        state = keep.looked(state, looks, clock.after(now, began), None)
        outcome = replace(outcome, looks=tuple(looks), written=bool(written))
    else:
        written = {}
    found = _missing(outcome, state, before, written)
    return replace(outcome, missing=tuple(dict.fromkeys(found)), errors=tuple(errors))


def _missing(
    outcome: Outcome, state: State, before: dict[str, Records], written: dict[str, Records]
) -> list[Missing]:
    """Return what keeps records from being as they are to be, and ports from being seen."""
    looks, services = outcome.looks, {one.port: one for one in state.services}
    of_list = {look.name for look in looks if look.port in services}
    found = [
        one
        for look in looks
        if look.port in services or look.name not in of_list
        for one in zone.missing(
            look, outcome.want, services.get(look.port), _ports_of(looks, written)
        )
    ]
    found += zone.unseen(looks if not written else (), before)
    found += zone.stale(state.keyring, outcome.ports)
    found += [
        Missing(one.port, one.where, sentence(one.error)) for one in outcome.ports if one.error
    ]
    return found


def _is_due(state: State, listed: Sequence[Port], now: datetime) -> bool:
    keyring = state.keyring
    published = () if state.unpin or not listed else keyring.published_pins()
    known = frozenset(key.pin for key in keyring.keys)
    return zone.is_due(published, known, state.services, listed, ledger=state.ledger, now=now)


@dataclass(frozen=True)
class _Kept:
    """What is seen and written of one keyring, kept in its file."""

    workspace: Workspace
    name: str
    listed: tuple[Port, ...]
    ttl: timedelta
    dry_run: bool

    def looked(
        self,
        state: State,
        looks: Iterable[OwnerObservation],
        at: datetime,
        shown: Iterable[PortObservation] | None,
    ) -> State:
        """Keep what was seen.

        :param shown: of the ports; ``None``: they were not looked at again
        """

        def seen(state: State) -> State:
            state = _with_looks(state, looks, self.listed, self.ttl, at)
            if shown is None:
                return state
            return replace(state, services=zone.served(state.services, self.listed, shown, at))

        return self._saved(state, seen, at)

    def written(
        self,
        state: State,
        looks: Iterable[OwnerObservation],
        changes: dict[str, list[Change]],
        at: datetime,
    ) -> State:
        """Keep what is about to be written."""
        after = {change.name: change for one in changes.values() for change in one}

        def recorded(state: State) -> State:
            ledger = state.ledger
            for look in looks:
                if change := after.get(look.name):
                    ledger = zone.with_written(ledger, look.port, change.after, self.ttl, at)
            return replace(state, ledger=ledger)

        return self._saved(state, recorded, at)

    def _saved(self, state: State, change: Callable[[State], State], at: datetime) -> State:
        if self.dry_run:
            return change(state)
        store = self.workspace.store
        with store.locked():
            fresh = _on_record(self.workspace, state, at)
            changed = change(fresh)
            kept = store.save(changed) if changed != fresh else fresh
        return self.workspace.with_faults(kept)


def _listed(workspace: Workspace, state: State) -> tuple[tuple[Port, ...], list[str]]:
    """Return the ports whose keys are to be in the zone; and what is wrong with the list, as
    sentences."""
    hosts = workspace.hosts(state.keyring)
    try:
        choices = state.chosen().tlsa
    except BadOption as error:
        return tuple(one.port for one in state.services), [str(error)]
    listed, strange = zone.listed_ports(choices, hosts)
    errors = [
        f"--pinkeep-tlsa names {one.host}, which is no host of the keyring {state.keyring.name}."
        for one in strange
    ]
    if choices and not listed and not errors and not state.unpin:
        errors.append(
            f"--pinkeep-tlsa names no port at a host: the keyring {state.keyring.name} has wildcards only."
        )
    return listed, errors


def _ttl(state: State) -> timedelta:
    try:
        return timedelta(seconds=state.chosen().tlsa_ttl)
    except BadOption:
        return max((one.ttl for one in state.ledger.zone), default=timedelta(hours=1))


def _read(
    eyes: Looks, chosen: Options, looks: Sequence[OwnerObservation]
) -> tuple[dict[str, Records], list[str]]:
    """Return the records that the zone has now, by name: at its provider, else as the name servers show
    them."""
    found: dict[str, Records] = {}
    for look in looks:
        sets = look.sets
        if look.zone and not look.error and sets:
            # If they differ, the one with most records: what the others lack is on its way.
            found[look.name] = max((records for records, _ in sets), key=len)
    if chosen.dns_credentials is None:
        return found, []
    errors = []
    try:
        provider = eyes.provider(chosen.dns_credentials)
        for origin, names in _by_zone(looks).items():
            found.update(eyes.in_time(origin, partial(provider.read, origin, names)))
    except Exception as error:
        errors.append(_refusal(error))
    return found, errors


def _refusal(error: Exception) -> str:
    """Write what a provider says, which may be somebody else's code."""
    if isinstance(error, PinkeepError):
        return str(error)
    logger.debug("A provider failed", exc_info=error)
    return f"The provider of the zone failed ({type(error).__name__}: {error})."


def _by_zone(looks: Iterable[OwnerObservation]) -> dict[str, list[str]]:
    found: dict[str, dict[str, None]] = {}
    for look in looks:
        if look.zone:
            found.setdefault(look.zone, {})[look.name] = None
    return {origin: list(names) for origin, names in found.items()}


def _changes(
    looks: Iterable[OwnerObservation],
    before: dict[str, Records],
    want: Wanted,
    state: State,
    chosen: Options,
) -> dict[str, list[Change]]:
    """Return what the zone is to have, and has not: by its name, one change for each name."""
    services = {one.port: one for one in state.services}
    after: dict[str, Records] = {}
    looks = list(looks)
    held = {one.where for one in zone.unseen(looks, before)}
    zones: dict[str, str] = {}
    for look in looks:
        if look.name not in before or not look.zone:
            continue
        records, why = zone.records_after(before[look.name], want, services.get(look.port))
        # An alias of a port that is on the list, and of one that is not: the list counts.
        listed = look.port in services
        held |= {look.name} if why and listed else set()
        if look.name not in after or listed:
            after[look.name] = records
        zones[look.name] = look.zone
    found: dict[str, list[Change]] = {}
    for name, records in after.items():
        if name not in held and records != before[name]:
            change = Change(name, before[name], records, chosen.tlsa_ttl)
            found.setdefault(zones[name], []).append(change)
    return found


def _write(
    eyes: Looks, credentials: str, changes: dict[str, list[Change]]
) -> tuple[dict[str, Records], list[str]]:
    """Write the changes; one that fails does not keep another zone's back.

    :returns: what was written, by name, and what went wrong
    """
    written: dict[str, Records] = {}
    errors = []
    for origin, some in changes.items():
        try:
            eyes.in_time(origin, partial(eyes.provider(credentials).change, origin, some))
            written.update((change.name, change.after) for change in some)
        except Exception as error:
            errors.append(_refusal(error))
    return written, errors


def _ports_of(
    looks: Iterable[OwnerObservation], written: dict[str, Records]
) -> dict[Port, Records]:
    return {one.port: written[one.name] for one in looks if one.name in written}
