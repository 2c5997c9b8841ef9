"""What admins ask of a keyring between renewals: a rollover, confirm, unpin; and what follows from
revocations.

The rules:

* A request is recorded and nothing else: the next renewal serves it, if that is safe.
* What would lock clients out is refused with nothing recorded, but for one fact: that a key is
  compromised.
* A lineage that moved to the keyring leaves its earlier one when Apache is known to send this keyring's
  header.
* Confirming counts only for what is published: if the snippet is not what is on record, there
  is nothing to confirm.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime

from certbot_pinkeep.carriers import apache, servers
from certbot_pinkeep.core import explain, explain_hosts, rollover, times
from certbot_pinkeep.core.errors import Compromised, DamagedState, NotSafe, PinkeepError
from certbot_pinkeep.core.keyring import Keyring
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.core.rollover import Decision
from certbot_pinkeep.core.state import State
from certbot_pinkeep.storage.store import Store
from certbot_pinkeep.workflow import move, neighbours
from certbot_pinkeep.workflow.workspace import Workspace


@dataclass(frozen=True)
class Asked:
    """What a request leads to.

    :ivar told: as sentences; if it is forced, also who is locked out
    :ivar ready: whether the next renewal serves it
    """

    told: tuple[str, ...]
    ready: bool


def ask(
    workspace: Workspace,
    name: str,
    now: datetime,
    *,
    when_safe: bool = False,
    compromised: bool = False,
    force: bool = False,
) -> Asked:
    """Record that the keyring is to roll over, every key type of it.

    :param when_safe: whether it may wait for a renewal at which it is safe
    :param compromised: whether the present keys must never be handed over again
    :param force: whether clients may be locked out
    :returns: what is going to happen
    :raises NotSafe: if it would lock clients out, or there is no backup
    """
    with loaded(workspace, name, now) as state:
        keyring = _left(state.keyring, compromised=compromised)
        served = keyring.served_types()
        lost = [explain.lost(key) for key in keyring.lost() if key.kind.key_type in served]
        usable = keyring.without_offline() if force else keyring
        decisions = _decisions(usable, state.ledger, now)
        impossible = [one for one in decisions if one.held and (one.best is None or not force)]
        if impossible and (not when_safe or force):
            if compromised:
                workspace.store.save(replace(state, keyring=keyring))
                workspace.store.spread(keyring)
            raise _refusal(keyring, state.ledger, impossible, lost, now)
        told = list(lost)
        refused = neighbours.refused(workspace, state, now) if force else []
        for decision in decisions:
            who = explain.NOBODY
            if force and decision.best is not None and not decision.rolls_over:
                keyring = keyring.with_forced(decision.best.pin)
                who = explain.announcement(decision.best, state.ledger, now)
            if force:
                more = refused and who == explain.NOBODY
                told.append(explain.refused_already(name, refused) if more else who)
            told.append(
                explain.promise(name, decision, force=force, apart=workspace.apart(keyring))
            )
        workspace.store.save(replace(state, keyring=keyring))
        workspace.store.spread(keyring)
    ready = all(decision.rolls_over for decision in decisions)
    return Asked(tuple(told), ready or force)


def _refusal(
    keyring: Keyring, ledger: Ledger, held: list[Decision], lost: list[str], now: datetime
) -> NotSafe:
    """Return what there is to say of a rollover that would lock clients out.

    :param lost: what there is to say of backups whose files cannot be used
    """
    if any(one.due == "compromised" for one in held):
        why = explain.locked_in(keyring, held[0], ledger, now=now)
        return Compromised(" ".join([*lost, why]))
    return NotSafe(" ".join([*lost, explain.refusal(keyring.name, held[0])]))


def take_back(workspace: Workspace, name: str, now: datetime) -> str:
    """Record that no rollover is asked for, nor forced, after all.

    :returns: what remains to be done, as a sentence
    """
    with loaded(workspace, name, now) as state:
        workspace.store.save(replace(state, keyring=state.keyring.without_requests()))
    told = due(workspace, name, now)
    return told[0] if told else f"The keyring {name} is not asked to roll over."


def due(workspace: Workspace, name: str, now: datetime) -> list[str]:
    """Return what is due of a keyring now, as sentences."""
    state = workspace.load_state(name, now)
    if state is None:
        return []
    decisions, apart = _decisions(state.keyring, state.ledger, now), workspace.apart(state.keyring)
    return [explain.promise(name, one, apart=apart) for one in decisions if one.due]


def confirm_clock(workspace: Workspace, name: str, now: datetime) -> str:
    """Record that the clock is right, though later times are on record (G8).

    :returns: what follows from it, as a sentence
    """
    with loaded(workspace, name, now) as state:
        if not state.ledger.is_ahead_of(now):
            return f"The keyring {name} knows of no later time than {times.text(now)}."
        ledger = state.ledger.accept_clock(now)
        keyring = state.keyring.served_by(now)
        workspace.store.save(replace(state, keyring=keyring, ledger=ledger))
        workspace.store.set_clock(now)
    return explain.clock_accepted(name, ledger, now)


def confirm(workspace: Workspace, name: str, now: datetime) -> str:
    """Record that Apache has loaded what is published, and serves it.

    :returns: what is served now, as a sentence
    :raises PinkeepError: if that cannot be so
    """
    with loaded(workspace, name, now) as state:
        ledger = state.ledger
        if ledger.current is not None and not ledger.pending and not state.snippet:
            return f"The keyring {name} has nothing pending: no server sends its header."
        if ledger.current is None or not state.snippet:
            raise PinkeepError(f"The keyring {name} publishes nothing yet.", run="certbot renew")
        unknown = ledger.uncertainty(now)
        if unknown is not None and unknown.end is None:
            raise PinkeepError(explain.unconfirmed(name, unknown))
        if not _is_published(state, ledger.current.policy, now):
            raise PinkeepError(
                f"{state.snippet} is not what was published last, so you cannot confirm it.",
                "The command below writes it anew. Then reload the web server, and confirm again.",
                run=workspace.step(state.keyring),
            )
        incoming = move.incoming(workspace, name)
        for other, hosts in incoming:
            behind = move.left_behind(workspace, other, hosts)
            if behind:
                raise PinkeepError(explain_hosts.left_behind(name, other.keyring.name, behind))
        if not ledger.pending and not incoming:
            return (
                f"The keyring {name} has nothing pending: the web server serves what is published."
            )
        served = {member.pin: now for member in state.keyring.members}
        keyring = state.keyring.served_since(served, now)
        for other, hosts in incoming:
            # What that one served since the lineage moved is imported as well.
            ledger = ledger.with_imported(other.ledger, hosts)
        ledger = ledger.confirm(now).transferred(now).prune(now)
        workspace.store.save(replace(state, keyring=keyring, ledger=ledger))
        for other, hosts in incoming:
            workspace.store.save(move.without_moved(other, name, hosts))
    assert ledger.current is not None
    since = times.text(ledger.current.recorded)
    told = f"The web server serves the pins of the keyring {name} that were published at {since}."
    for other, hosts in incoming:
        told += f" {', '.join(dict.fromkeys(hosts))} has left the keyring {other.keyring.name}."
    return told


def _is_published(state: State, policy: Policy, now: datetime) -> bool:
    """Return whether the snippet is what was published last."""
    text = apache.read_snippet(state.snippet)
    kind = servers.kind_of(state.snippet, text)
    wanted = kind.render(state.keyring, None if state.unpinned(now) else policy)
    return kind.is_same(text, wanted)


def unpin(workspace: Workspace, name: str, now: datetime, *, undo: bool = False) -> list[str]:
    """Record that the keyring leaves pinning, or with *undo* that it stays pinned.

    :returns: the certificates of the keyring: it has an effect once they are brought up to date
    """
    with loaded(workspace, name, now) as state:
        if state.unpin == undo:
            workspace.store.save(replace(state, unpin=not undo))
        return [member.lineage for member in state.keyring.drawing]


def note_deleted(workspace: Workspace, now: datetime) -> list[str]:
    """Return what becomes of the pins of lineages that were deleted.

    :returns: as sentences, for admins
    """
    told = []
    for name in workspace.store.names():
        with suppress(DamagedState):
            state = workspace.load_state(name, now)
            gone = workspace.deleted(state.keyring) if state else ()
            if state is not None and gone:
                leaving = state.unpin
                told.append(
                    explain_hosts.deleted(state.keyring, gone, state.ledger, now, leaving=leaving)
                )
    return told


def note_revoked(workspace: Workspace, pin: str, now: datetime, *, compromised: bool) -> list[str]:
    """Note that a certificate of this key was revoked, in each keyring that has it.

    :returns: what follows from it, as sentences
    :raises DamagedState: if a keyring file cannot be trusted; the others are seen to first
    """
    told, damaged = [], []
    for name in workspace.store.names():
        try:
            told += _note_revoked(workspace, name, pin, now, compromised=compromised)
        except DamagedState as error:
            damaged.append(error)
    if damaged:
        raise damaged[0]
    return told


def _note_revoked(
    workspace: Workspace, name: str, pin: str, now: datetime, *, compromised: bool
) -> list[str]:
    store = workspace.store
    with store.locked():
        state = store.load(name)
        key = state.keyring.key(pin) if state else None
        if state is None or key is None:
            return []
        store.save(state.with_revoked(pin, compromised=compromised))
    return due(workspace, name, now)


def backup_of(workspace: Workspace, pin: str) -> list[str]:
    """Return the keyrings of which this key is a backup, as far as their files can be trusted."""
    found = ((state.keyring.name, state.keyring.key(pin)) for state in workspace.trusted())
    return [name for name, key in found if key is not None and key.role == "backup"]


def no_keyring(store: Store, name: str) -> PinkeepError:
    """Return what there is to say of a keyring that is not there."""
    known = ", ".join(store.names())
    if known:
        return PinkeepError(f"There is no keyring {name!r}.", f"Keyrings here: {known}.")
    return PinkeepError(
        f"There is no keyring {name!r}, nor any other in {store.folder}.",
        "If certbot uses other folders, give the command the same --config-dir, --work-dir and --logs-dir.",
    )


@contextmanager
def loaded(workspace: Workspace, name: str, now: datetime) -> Iterator[State]:
    """Yield the keyring's state, and hold the lock on it.

    :raises PinkeepError: if there is no such keyring
    """
    if workspace.store.load(name) is None:
        raise no_keyring(workspace.store, name)
    with workspace.store.locked():
        state = workspace.load_state(name, now)
        assert state is not None  # nobody removes one
        yield replace(state, ledger=state.ledger.with_latest_known(now))


def _left(keyring: Keyring, *, compromised: bool) -> Keyring:
    """Return the keyring with its present keys to be left."""
    if not compromised:
        return keyring.mark_for_retirement()
    enrolled = {member.pin for member in keyring.members if member.enrolled}
    present = [key for key in keyring.in_service() if key.pin in enrolled]
    present += [p for one in keyring.served_types() if (p := keyring.primary(one)) is not None]
    for key in present:
        keyring = keyring.with_compromised(key.pin)
    return keyring


def _decisions(keyring: Keyring, ledger: Ledger, now: datetime) -> list[Decision]:
    return list(rollover.decide_all(keyring, ledger, now).values())
