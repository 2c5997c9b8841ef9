"""A zone that carries a keyring's pins: looked at, recorded, written, and looked at again.

The rules:

* What was seen is saved before anything follows from it. What is about to be written is saved before it is
  (G5): after a kill in between, a set is on record that may come, and the next run writes it again.
* A name that has records of several ports (by aliases) is changed only if all of them agree.
* Nothing is believed of a change before the name servers were seen to have it (G13). What is not there in a
  few seconds is looked for at the next run.
* Failures here never hold a renewal up (G3). Certbot tells of failures when it ends.
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

    def error(self) -> PinkeepError | None:
        """Return what the admin has to see to; ``None``: nothing, or all comes by itself."""
        where: dict[str, list[str]] = {}
        for one in self.missing:
            if not one.waits:
                where.setdefault(one.why, []).append(one.where)
        if not where and not self.errors:
            return None
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
    turn = _Turn(workspace, state, *_listed(workspace, state), _ttl(state), dry_run)
    began = clock.seconds()
    looks = Looks(workspace.eyes).records(turn.ports)
    at = clock.after(now, began)
    try:
        turn.keep_seen(looks, at)
    except OSError as error:
        logger.error("pinkeep heeds what the name servers show, but could not record it: %s", error)
        return turn.with_looks(state, looks, at)
    ledger = turn.state.ledger.with_latest_known(workspace.store.latest_known(now))
    # Another keyring that a lineage moves from may have published something meanwhile.
    return workspace.with_incoming(replace(state, ledger=ledger, saved=turn.state.saved))


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


@dataclass
class _Turn:
    """A keyring whose zone and ports are looked at.

    :ivar state: what is on record, and what was seen since
    :ivar errors: what went wrong, as sentences
    :ivar dry_run: whether nothing is saved
    """

    workspace: Workspace
    state: State
    listed: tuple[Port, ...]
    errors: list[str]
    ttl: timedelta
    dry_run: bool

    @property
    def name(self) -> str:
        """The name of the keyring."""
        return self.state.keyring.name

    @property
    def ports(self) -> tuple[Port, ...]:
        """The ports whose records are to be looked at."""
        return zone.looked_at(self.listed, self.state.ledger)

    def keep_seen(
        self,
        looks: Iterable[OwnerObservation],
        at: datetime,
        shown: Iterable[PortObservation] | None = None,
    ) -> None:
        """Keep what was seen.

        :param shown: of the ports; ``None``: they were not looked at again
        """

        def seen(state: State) -> State:
            state = self.with_looks(state, looks, at)
            if shown is None:
                return state
            return replace(state, services=zone.served(state.services, self.listed, shown, at))

        self._keep(seen, at)

    def with_looks(self, state: State, looks: Iterable[OwnerObservation], at: datetime) -> State:
        """Return the state with what name servers show."""
        services, listed = state.services, self.listed
        ledger = zone.with_new_ports(state.ledger, services, listed, ttl=self.ttl, at=at)
        for look in looks:
            ledger = zone.with_looked(ledger, look, self.ttl, at)
        return replace(state, ledger=ledger.prune(at))

    def keep_written(
        self, looks: Iterable[OwnerObservation], changes: dict[str, list[Change]], at: datetime
    ) -> None:
        """Keep what is about to be written."""
        after = {change.name: change.after for one in changes.values() for change in one}

        def recorded(state: State) -> State:
            ledger = state.ledger
            for look in looks:
                if look.name in after:
                    records = after[look.name]
                    ledger = zone.with_written(ledger, look.port, records, self.ttl, at)
            return replace(state, ledger=ledger)

        self._keep(recorded, at)

    def _keep(self, change: Callable[[State], State], at: datetime) -> None:
        if self.dry_run:
            self.state = change(self.state)
            return
        store = self.workspace.store
        with store.locked():
            fresh = _on_record(self.workspace, self.state, at)
            changed = change(fresh)
            kept = store.save(changed) if changed != fresh else fresh
        self.state = self.workspace.with_faults(kept)


def bring_all_up_to_date(
    workspace: Workspace, names: Iterable[str], now: datetime
) -> tuple[list[Outcome], list[tuple[str, PinkeepError | OSError]]]:
    """Look at the zones and ports of keyrings for which that is due, and write what the zones lack.

    :returns: what became of them; and what the admin has to see to, with the keyring
    """
    outcomes: list[Outcome] = []
    errors: list[tuple[str, PinkeepError | OSError]] = []
    turns = []
    for name in names:
        try:
            if turn := _turn(workspace, name, now, always=False):
                turns.append(turn)
        except (PinkeepError, OSError) as error:
            errors.append((name, error))
    looks = Looks(workspace.eyes)
    began = clock.seconds()
    looks.ahead([(one.ports, one.listed) for one in turns])
    for turn in turns:
        try:
            outcomes.append(_brought(turn, clock.after(now, began), looks))
        except (PinkeepError, OSError) as error:
            errors.append((turn.name, error))
    return outcomes, errors


def bring_up_to_date(
    workspace: Workspace, name: str, now: datetime, *, always: bool = True, dry_run: bool = False
) -> Outcome | None:
    """Look at the zone and the ports of a keyring, write what the zone lacks, and look again.

    :param always: whether to look also if the last look was less than a day ago, and nothing is pending
    :param dry_run: only look; nothing is written, not even what was seen
    :returns: ``None``: it has no zone, or no look is due
    :raises PinkeepError: if its file or its options cannot be used
    """
    turn = _turn(workspace, name, now, always=always, dry_run=dry_run)
    return _brought(turn, now, Looks(workspace.eyes)) if turn else None


def _turn(
    workspace: Workspace, name: str, now: datetime, *, always: bool, dry_run: bool = False
) -> _Turn | None:
    state = workspace.load_state(name, now)
    if state is None or not has_zone(state):
        return None
    turn = _Turn(workspace, state, *_listed(workspace, state), _ttl(state), dry_run)
    if not turn.ports and not turn.errors:
        return None
    return turn if always or turn.errors or _is_due(state, turn.listed, now) else None


def _brought(turn: _Turn, now: datetime, eyes: Looks) -> Outcome:
    """Look, write, and look again.

    :raises PinkeepError: if the options cannot be used, or no time is left
    """
    state, listed, ports = turn.state, turn.listed, turn.ports
    chosen, leaves = state.chosen(), state.unpin
    eyes.check_time(turn.name)
    began = clock.seconds()
    looks, shown = eyes.records(ports), eyes.loaded_services(state.keyring, listed)
    at = clock.after(now, began)
    turn.keep_seen(looks, at, shown)
    state = turn.state
    want = zone.wanted(state.keyring, state.services, listed, at, leaves=leaves)
    before = _read(eyes, chosen, looks, turn.errors)
    changes = _changes(looks, before, want, state, chosen)
    written: dict[str, Records] = {}
    if changes and chosen.dns_credentials and not turn.dry_run:
        turn.keep_written(looks, changes, clock.after(now, began))
        written = _write(eyes, chosen.dns_credentials, changes, turn.errors)
        looks = eyes.see(ports, looks, written) if written else looks
        turn.keep_seen(looks, clock.after(now, began))
    outcome = Outcome(turn.name, listed, want, tuple(looks), tuple(shown), changes, bool(written))
    found = _missing(outcome, turn.state, before, written)
    return replace(outcome, missing=tuple(dict.fromkeys(found)), errors=tuple(turn.errors))


def _missing(
    outcome: Outcome, state: State, before: dict[str, Records], written: dict[str, Records]
) -> list[Missing]:
    """Return what keeps records from being as they are to be, and ports from being seen."""
    looks, services = outcome.looks, {one.port: one for one in state.services}
    by_port = {one.port: written[one.name] for one in looks if one.name in written}
    of_list = {look.name for look in looks if look.port in services}
    found = [
        one
        for look in looks
        if look.port in services or look.name not in of_list
        for one in zone.missing(look, outcome.want, services.get(look.port), by_port)
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
    eyes: Looks, chosen: Options, looks: Sequence[OwnerObservation], errors: list[str]
) -> dict[str, Records]:
    """Return the records that the zone has now, by name: at its provider, else as the name servers show
    them."""
    found: dict[str, Records] = {}
    for look in looks:
        if look.zone and not look.error and look.sets:
            # If they differ, the one with most records: what the others lack is on its way.
            found[look.name] = max((records for records, _ in look.sets), key=len)
    if chosen.dns_credentials is None:
        return found
    try:
        provider = eyes.provider(chosen.dns_credentials)
        zones = _zones(looks)
        for origin in dict.fromkeys(zones.values()):
            names = [name for name, its_zone in zones.items() if its_zone == origin]
            found.update(eyes.in_time(origin, partial(provider.read, origin, names)))
    except Exception as error:
        errors.append(_refusal(error))
    return found


def _zones(looks: Iterable[OwnerObservation]) -> dict[str, str]:
    """Return the zone of each name that was found to have one."""
    return {look.name: look.zone for look in looks if look.zone}


def _refusal(error: Exception) -> str:
    """Write what a provider says, which may be somebody else's code."""
    if isinstance(error, PinkeepError):
        return str(error)
    logger.debug("A provider failed", exc_info=error)
    return f"The provider of the zone failed ({type(error).__name__}: {error})."


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
    zones = _zones(looks)
    for look in looks:
        if look.name not in before or not look.zone:
            continue
        records, why = zone.records_after(before[look.name], want, services.get(look.port))
        # An alias of a port that is on the list, and of one that is not: the list counts.
        listed = look.port in services
        held |= {look.name} if why and listed else set()
        if look.name not in after or listed:
            after[look.name] = records
    found: dict[str, list[Change]] = {}
    for name, records in after.items():
        if name not in held and records != before[name]:
            change = Change(name, before[name], records, chosen.tlsa_ttl)
            found.setdefault(zones[name], []).append(change)
    return found


def _write(
    eyes: Looks, credentials: str, changes: dict[str, list[Change]], errors: list[str]
) -> dict[str, Records]:
    """Write the changes; one that fails does not keep another zone's back.

    :returns: what was written, by name
    """
    written: dict[str, Records] = {}
    for origin, some in changes.items():
        try:
            eyes.in_time(origin, partial(eyes.provider(credentials).change, origin, some))
            written.update((change.name, change.after) for change in some)
        except Exception as error:
            errors.append(_refusal(error))
    return written
