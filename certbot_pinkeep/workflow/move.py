"""Which keyring a host has, and what happens if a host changes keyrings.

The rules:

* A host has one keyring. A lineage draws on the keyring that is named for it, or that has it; else on
  the one that pins any of its names; else on a new one with its own name.
* A lineage that was deleted is in no keyring any more. A new one of the same name is another lineage.
* A lineage that moves keeps its key in service in both keyrings, until the server sends the new header (G2).
* A lineage whose names two keyrings pin keeps its key, unless the next one is accepted at all of them.
  If clients of its own keyring refuse that key, it gets its keyring's: the other keyring's hosts are
  served with another certificate, or refused already. If that key is compromised, the renewal fails (G3).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from certbot_pinkeep.adapters.lineage import Live
from certbot_pinkeep.core import explain_hosts, hostnames, membership
from certbot_pinkeep.core.errors import Compromised, DamagedState, OtherKeyring
from certbot_pinkeep.core.key_and_csr import SavedKey
from certbot_pinkeep.core.state import State
from certbot_pinkeep.workflow.accepted import draws, member_of, publishes, refusing
from certbot_pinkeep.workflow.issue_request import IssueRequest
from certbot_pinkeep.workflow.workspace import Names, Workspace

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Claim:
    """A lineage that is to draw on a keyring.

    :ivar names: in lower case
    :ivar pin: of the key that it has; ``None``: it is new
    """

    keyring: str
    lineage: str
    names: Names
    pin: str | None = None


# Which keyring a host has


def keyring_at(workspace: Workspace, names: Iterable[str], now: datetime) -> str | None:
    """Return the keyring that pins any of the names: of several, the one with lineages for most of them. If
    there is none, the one whose pins bind at most of them."""
    hosts = tuple(names)
    found: dict[str, tuple[int, int]] = {}
    for keyring in workspace.store.near(hosts):
        for state in workspace.at_best(keyring, now):
            enrolled = _enrolled_hosts(workspace, state, hosts, now)
            pinned = len([one for one in hosts if _pins(state, enrolled, one, now)])
            if pinned:
                found[keyring] = len(hostnames.covered(enrolled, hosts, subdomains=False)), pinned
    return max(found, key=lambda one: found[one], default=None)


def pinned_host(workspace: Workspace, state: State, names: Names, now: datetime) -> str | None:
    """Return the first of the names that the keyring has, or that its pins bind at."""
    enrolled = _enrolled_hosts(workspace, state, names, now)
    return next((name for name in names if _pins(state, enrolled, name, now)), None)


def _pins(state: State, enrolled: Iterable[str], name: str, now: datetime) -> bool:
    """Return whether the keyring pins a name, by one of its hosts or one above.

    :param enrolled: the hosts of its lineages, whatever binds there now
    """
    return bool(hostnames.covered(enrolled, (name,), subdomains=False)) or any(
        one.binds_at((name,)) for one in state.ledger.holdings if one.hosts and one.may_bind(now)
    )


def _enrolled_hosts(workspace: Workspace, state: State, names: Names, now: datetime) -> list[str]:
    """Return the names of the lineages that draw on the keyring and have any of these names."""
    return [
        host
        for member in (() if state.unpinned(now) else state.keyring.drawing)
        if hostnames.covered(member.hosts, names, subdomains=False)
        and not workspace.store.is_deleted(member.lineage)
        for host in member.hosts
    ]


def forget_deleted(workspace: Workspace, lineage: str, keyring: str) -> None:
    """Take a lineage that was deleted out of other keyrings: certbot is about to make another one of
    the same name.

    :param keyring: the one that the new lineage is to draw on
    """
    for name in workspace.store.names() if workspace.store.is_deleted(lineage) else ():
        with (
            suppress(DamagedState, OSError),
            workspace.store.locked(),
        ):  # the next run tells of these
            state = workspace.store.load(name)
            if state is not None and name != keyring and draws(state, lineage):
                left = membership.without_members(state.keyring, [lineage])
                workspace.store.save(replace(state, keyring=left))
                logger.info("%s was deleted, and has left the keyring %s.", lineage, name)


# Whether it may change


def check_claim(workspace: Workspace, claim: Claim, now: datetime) -> None:
    """See that no other keyring pins the names of a lineage.

    :raises OtherKeyring: if one does
    """
    keyring = claim.keyring
    for name in workspace.store.near(claim.names):
        try:
            state = None if name == keyring else workspace.recall(name, now)
        except DamagedState as error:
            logger.error("%s", error)
            known = workspace.store.known(name)
            if any(pinned_host(workspace, one, claim.names, now) for one in known):
                raise
            continue
        if state is None or _has_come_from(state, claim):
            continue
        host = pinned_host(workspace, state, claim.names, now)
        if host is not None and not _has_moved(state, (host,), keyring):
            carried = explain_hosts.carried(name, state.ledger, now, (host,))
            run = _mend_of(workspace, state, host, claim, now)
            raise OtherKeyring(host, name, keyring, run, carried)


def check_accepted(
    workspace: Workspace, lineage: str, names: Iterable[str], pin: str, now: datetime
) -> None:
    """See that no client refuses the key of a lineage that is not ours for pins that are.

    :raises OtherKeyring: if some do
    """
    names = tuple(names)
    for name in workspace.store.near(names):
        state = workspace.recall(name, now)
        locked = refusing(state, names, pin, now) if state else ()
        if state and locked:
            carried = explain_hosts.carried(name, state.ledger, now, locked[:1])
            run = explain_hosts.drawing_on(name, lineage, renewed=True)
            raise OtherKeyring(locked[0], name, lineage, run, carried)


def accepted_everywhere(
    workspace: Workspace,
    request: IssueRequest,
    key: SavedKey,
    state: State | None,
    *,
    compromised: bool,
) -> SavedKey:
    """Return the key; if another keyring's pins refuse it at the names of the new certificate, the live
    one.

    The live one does not go on if clients of the lineage's own keyring refuse it.

    :param state: of the keyring that it draws on
    :param compromised: whether the live one is known to be compromised
    :raises Compromised: if it is, and another keyring's pins refuse the key
    """
    live, keyring, now = request.renewed, request.keyring, request.now
    if key.pin == live.pin:
        return key
    own = state if state is not None and draws(state, live.name) else None
    for name in workspace.store.near(request.names):
        if name == keyring or (own is not None and name == own.keyring.name):
            continue
        for other in workspace.at_best(name, now):
            locked = refusing(other, request.names, key.pin, now)
            if not locked or _has_moved(other, locked, keyring):
                continue
            if own is not None and _goes_back(own, request, key.pin):
                goes_back = explain_hosts.goes_back(own.keyring.name, name, live.name, locked)
                logger.warning("%s", goes_back)
                continue
            if compromised or workspace.store.is_compromised(live.pin):
                stays = _staying(workspace, other, locked[0])
                raise Compromised(
                    explain_hosts.not_renewed(keyring, name, live.name, locked, stays=stays)
                )
            logger.warning(
                "%s keeps its present key: clients that hold pins of the keyring %s refuse the "
                "key of the keyring %s.",
                live.name,
                name,
                keyring,
            )
            path = os.path.relpath(live.key_path, workspace.config_dir)
            return workspace.folders.load_key(path, live.pin)
    return key


def _goes_back(own: State, request: IssueRequest, pin: str) -> bool:
    """Return whether clients of the lineage's own keyring refuse its present key, and accept the
    other."""
    names, now = request.names, request.now
    present = request.renewed.pin
    return bool(refusing(own, names, present, now)) and not refusing(own, names, pin, now)


def _mend_of(workspace: Workspace, state: State, host: str, claim: Claim, now: datetime) -> str:
    """Return what to do if a lineage of a claim has a host that this keyring pins."""
    other, keyring, lineage = state.keyring.name, claim.keyring, claim.lineage
    names, pin = claim.names, claim.pin
    own_states = workspace.at_best(keyring, now)
    if not any(pinned_host(workspace, one, names, now) for one in own_states):
        return explain_hosts.drawing_on(other, lineage, () if pin else names)
    stays = _staying(workspace, state, host)
    if pin is None:
        own = tuple(name for name in names if pinned_host(workspace, state, (name,), now))
        if stays and len(own) == len(tuple(names)):
            return explain_hosts.one_keyring_first(keyring, stays)
        return explain_hosts.own_certificate(keyring, other, own)
    here = any(publishes(one, pin) for one in own_states)
    mine = any(draws(one, lineage) for one in own_states)
    if mine and not here:
        return explain_hosts.back_first(keyring, lineage)
    theirs = refusing(state, names, pin, now) or (host,)
    left = tuple(name for name in names if name not in theirs)
    if mine and left and stays and not publishes(state, pin):
        return explain_hosts.to_split(lineage, theirs, left, stays)
    both = here and publishes(state, pin)
    return explain_hosts.to_merge(keyring, other, lineage, stays=stays, both=both)


def _staying(workspace: Workspace, state: State, host: str) -> str | None:
    """Return a lineage that draws on the keyring with this host, or with one below; ``None``: none does."""
    return next(
        (
            member.lineage
            for member in workspace.drawing(state.keyring)
            if hostnames.covered(member.hosts, (host,), subdomains=True)
        ),
        None,
    )


def _has_come_from(state: State, claim: Claim) -> bool:
    """Return whether the lineage moves, or has moved, from this keyring to the claimed one with a known key:
    not if it was deleted before and is new."""
    member = state.keyring.member(claim.lineage)
    if member is None or not member.enrolled:
        return False
    known = claim.pin is not None and state.keyring.key(claim.pin) is not None
    return member.transferred == claim.keyring or known


def _has_moved(state: State, names: Names, keyring: str) -> bool:
    """Return whether lineages with all of these names have moved from this keyring to the other. That one has
    imported what binds there."""
    moved = [
        host
        for member in state.keyring.members
        if member.transferred == keyring
        for host in member.hosts
    ]
    return len(hostnames.covered(moved, names, subdomains=False)) == len(names)


# How it changes


def origin(workspace: Workspace, lineage: str, keyring: str) -> str | None:
    """Return the keyring that a lineage moves from to this one; ``None``: from none."""
    found = workspace.store.keyring_of(lineage, keyring)
    return None if found == keyring else found


def note_left(workspace: Workspace, live: Live, state: State, origin: str | None) -> None:
    """Note in the keyrings that a lineage has moved from that it has, and which key it serves; also if
    a run was killed before it came to that."""
    name = state.keyring.name
    moving = origin is not None or bool(state.ledger.imported)
    for other in workspace.store.names() if moving else ():
        left = None if other == name else workspace.store.load(other)
        there = left.keyring.member(live.name) if left else None
        if left is None or there is None or not there.enrolled:
            continue
        member = replace(member_of(live), transferred=name)
        keyring = left.keyring
        known = keyring.key(live.pin) is not None
        keyring = (
            membership.with_member(keyring, member)
            if known
            else membership.with_transferred(keyring, live.name, name)
        )
        if keyring != left.keyring:
            workspace.store.save(replace(left, keyring=keyring))


def incoming(workspace: Workspace, name: str) -> list[tuple[State, Names]]:
    """Return the keyrings from which lineages have moved to this one, and the hosts of these.

    :raises DamagedState: if a keyring file cannot be trusted: it may be one of them
    """
    found = []
    for other in workspace.store.names():
        state = workspace.store.load(other)
        moved = [m for m in state.keyring.members if m.transferred == name] if state else []
        if state is not None and moved:
            found.append((state, tuple(host for member in moved for host in member.hosts)))
    return found


def left_behind(workspace: Workspace, state: State, hosts: Names) -> list[str]:
    """Return the lineages of a keyring by which its pins go on binding at hosts that have moved away:
    they serve the same hosts, or cover them with includeSubDomains."""
    subdomains = any(
        entry.policy.include_subdomains and entry.policy.binding and entry.replaced is None
        for entry in state.ledger.entries
    )
    return [
        member.lineage
        for member in workspace.drawing(state.keyring)
        if hostnames.covered(member.hosts, hosts, subdomains=subdomains)
    ]


def without_moved(state: State, name: str, hosts: Names) -> State:
    """Return the keyring without the lineages and hosts that have moved to another one for good."""
    gone = [member.lineage for member in state.keyring.members if member.transferred == name]
    keyring = membership.without_hosts(membership.without_members(state.keyring, gone), hosts)
    return replace(state, keyring=keyring, ledger=state.ledger.without_hosts(hosts))
