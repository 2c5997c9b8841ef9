"""Whether clients accept the key that a lineage has live, and what to do if they do not."""

from __future__ import annotations

from datetime import datetime

from certbot_pinkeep.adapters.lineage import Live
from certbot_pinkeep.core import explain_hosts, membership, rollover, text
from certbot_pinkeep.core.errors import BadKey, Unpinned
from certbot_pinkeep.core.keyring import Keyring, Member
from certbot_pinkeep.core.state import State
from certbot_pinkeep.workflow.workspace import Names, Workspace


def member_of(live: Live, loaded: str | None = None) -> Member:
    """Return the lineage as a keyring notes it."""
    return Member(live.name, live.names, live.pin, loaded)


def as_live(state: State, live: Live) -> Keyring:
    """Return the keyring with the lineage as it is now, if its key is pinned.

    A run that was killed may not have come to note it.
    """
    if not publishes(state, live.pin) or not state.keyring.key(live.pin):
        return state.keyring
    return membership.with_member(state.keyring, member_of(live))


def recorded_pin(keyring: Keyring, live: Live) -> str:
    """Return the pin of the key that the lineage has, or had before a renewal without pinkeep.

    That one goes on if the primary is not safe at its names.
    """
    known, member = keyring.key(live.pin), keyring.member(live.name)
    if member is None or (known is not None and known.role != "retired"):
        return live.pin
    before = keyring.key(member.pin)
    return member.pin if before is not None and before.role == "in-service" else live.pin


def publishes(state: State, pin: str) -> bool:
    """Return whether the pin is among those that are published."""
    return state.ledger.current is not None and pin in state.ledger.current.policy.pins


def draws(state: State, lineage: str) -> bool:
    """Return whether the lineage draws on the keyring, and has not moved to another."""
    return any(member.lineage == lineage for member in state.keyring.drawing)


def refusing(state: State, names: Names, pin: str, now: datetime) -> Names:
    """Return the names at which clients that hold pins of the keyring refuse a key."""
    return tuple(name for name in names if rollover.locked_out(pin, state.ledger, now, (name,)))


def is_accepted(state: State, live: Live, now: datetime) -> bool:
    """Return whether clients accept this live key.

    Clients accept a key that is published and not retired, or that no pins lack. They accept a key that the
    admin forced. So they do if an enrolment accepted it, and a killed run did not publish it.
    """
    key, member = state.keyring.key(live.pin), state.keyring.member(live.name)
    if key is None or state.ledger.current is None:
        return key is not None
    if member is not None and member.pin == live.pin and key.role in ("primary", "in-service"):
        return True
    if not publishes(state, live.pin):
        # Staged, and used before a run that was killed came to publish it.
        ready = rollover.safety(key, state.ledger, now, live.names).at(now)
        return key.forced or (key.role == "backup" and ready)
    return key.role != "retired" or not rollover.locked_out(live.pin, state.ledger, now, live.names)


def unpinned_error(workspace: Workspace, state: State, live: Live) -> Unpinned:
    """Return what there is to say of a live key that clients do not accept."""
    mend = _back_to_pinned(live.name)
    primary = state.keyring.primary(live.kind.key_type)
    try:
        if primary is not None:
            workspace.load_key(primary)
    except BadKey as error:
        mend = text.joined(str(error), workspace.give_up(state.keyring.name))
    return _unpinned(state, live.name, live.pin, mend)


def unpinnable_error(state: State, lineage: str, pin: str, error: BadKey) -> Unpinned:
    """Return what there is to say of a lineage whose live key is of a kind that is never pinned."""
    return _unpinned(state, lineage, pin, text.joined(str(error), _back_to_pinned(lineage)))


def _unpinned(state: State, lineage: str, pin: str, mend: str) -> Unpinned:
    assert state.ledger.current is not None
    until = held_for(state.ledger.current.policy.max_age)
    return Unpinned(lineage, pin, state.keyring.name, until, mend)


def _back_to_pinned(lineage: str) -> str:
    """Return how a lineage gets a pinned key again, as a sentence."""
    command = text.command(explain_hosts.renewal(lineage))
    return text.joined("Go back to the pinned key.", command)


def held_for(max_age: int) -> str:
    """Return how long clients hold pins, as a part of a sentence; *max_age* in seconds."""
    days = max_age // 86400
    return f"for up to {days} days after their last visit" if days else f"for {max_age} seconds"
