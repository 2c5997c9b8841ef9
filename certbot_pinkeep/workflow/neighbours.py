"""The other certificates of this machine for the hosts of a keyring, enrolled or not.

The rules:

* The server loads all of them, so all lineages of a keyring are looked at before it is published: if
  clients do not accept one, nothing is published (G2).
* A neighbour is a certificate for a host of the keyring that is not enrolled. Clients meet its key at that
  host. So it is pinned as it is at each publication, and gets backups of its type: to pin a key locks nobody
  out, to leave it out may. The key leaves when no lineage serves it for the host any more.
* A first policy is not published beside a certificate whose key cannot be pinned.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Container
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from certbot_pinkeep.adapters import lineage, renewal_conf
from certbot_pinkeep.adapters.certificates import LiveCertificate
from certbot_pinkeep.core import hostnames, membership, rollover
from certbot_pinkeep.core.errors import BadKey, PinkeepError, Unpinnable
from certbot_pinkeep.core.keyring import Key, Keyring
from certbot_pinkeep.core.state import State
from certbot_pinkeep.storage import keys_and_csrs
from certbot_pinkeep.workflow.accepted import (
    is_accepted,
    member_of,
    unpinnable_error,
    unpinned_error,
)
from certbot_pinkeep.workflow.stage import paths_of
from certbot_pinkeep.workflow.workspace import Names, Workspace

logger = logging.getLogger(__name__)


def with_members(
    workspace: Workspace, state: State, enrolled: Container[str], now: datetime
) -> State:
    """Return the state with its lineages as they are live.

    :param enrolled: those that were enrolled in this run, and need no look
    :raises Unpinned: if clients do not accept one of them
    """
    for member in state.keyring.drawing:
        if member.lineage in enrolled:
            continue
        try:
            pin = lineage.glance(workspace.live_file(member.lineage)).pin
        except BadKey as error:
            logger.debug("%s", error)  # its own turn tells
            continue
        if pin == member.pin:
            continue
        try:
            live = workspace.look(member.lineage)
        except BadKey as error:
            raise unpinnable_error(state, member.lineage, pin, error) from error
        if not is_accepted(state, live, now) and not state.unpinned(now):
            raise unpinned_error(workspace, state, live)
        keyring = membership.with_member(state.keyring, member_of(live, member.loaded))
        state = replace(state, keyring=keyring) if keyring.key(live.pin) else state
    return state


def with_neighbours(workspace: Workspace, state: State, now: datetime) -> State:
    """Return the state with the certificates for its hosts that are not enrolled, as they are.

    :raises Unpinnable: if the first policy would lack the key of one
    """
    if state.unpinned(now):
        return state
    keyring, certificates = state.keyring, workspace.certificates
    enrolled = {member.lineage for member in keyring.members if member.enrolled}
    found = [one for one in certificates.at(keyring.hosts) if one.lineage not in enrolled]
    there = {one.lineage for one in found}
    known = {one.lineage for one in certificates.all()}
    keyring = membership.without_members(
        keyring,
        (
            member.lineage
            for member in keyring.neighbours
            if member.lineage not in there
            and (member.lineage in known or workspace.store.is_deleted(member.lineage))
        ),
    )
    for one in found:
        hosts = tuple(hostnames.covered(one.names, keyring.hosts, subdomains=False))
        member = keyring.member(one.lineage)
        if member is not None and (member.pin, member.hosts) == (one.pin, hosts):
            continue
        try:
            keyring = _with_neighbour(workspace, keyring, one, hosts, now)
        except BadKey as error:
            command = _command(workspace, one)
            unpinnable = Unpinnable(keyring.name, one.lineage, str(error), command)
            if state.ledger.current is None:
                raise unpinnable from error
            logger.error("%s", unpinnable)
            keyring = membership.without_members(keyring, [one.lineage])
    return replace(state, keyring=keyring)


def refused(workspace: Workspace, state: State, now: datetime) -> list[str]:
    """Return the lineages with certificates for the keyring's hosts whose live keys clients refuse."""
    workspace.certificates.refresh()
    return [
        one.lineage
        for one in workspace.certificates.at(state.keyring.hosts)
        if rollover.locked_out(one.pin, state.ledger, now, one.names)
    ]


def _with_neighbour(
    workspace: Workspace, keyring: Keyring, one: LiveCertificate, hosts: Names, now: datetime
) -> Keyring:
    """Return the keyring with the key of a neighbour in service; the first one of its type is the next
    renewals' as well."""
    live = workspace.look(one.lineage)
    compromised = workspace.store.is_compromised(live.pin)
    key = Key(live.pin, live.kind, "in-service", None, live.since, live.since)
    first = live.kind.key_type not in keyring.key_types() and not compromised
    if keyring.key(live.pin) is None and first:
        taken = paths_of(keyring)
        try:
            key = workspace.adopted_key(live, taken)
        except (BadKey, OSError) as error:
            logger.debug("%s", error)
            made = workspace.folders.save_key(keys_and_csrs.make_key(live.kind), taken)
            keyring = keyring.with_keys([Key(made.pin, made.kind, "primary", made.path, now)])
    keyring = membership.with_neighbour(keyring, one.lineage, hosts, key)
    return keyring.with_compromised(live.pin) if compromised else keyring


def _command(workspace: Workspace, one: LiveCertificate) -> str:
    """Return what gives a certificate a key that can be pinned."""
    renewal = None
    with suppress(PinkeepError):
        renewal = renewal_conf.load(workspace.config_dir, one.lineage)
    own = " --installer null" if renewal is not None and renewal.installer == "pinkeep" else ""
    return (
        f"certbot renew --cert-name {shlex.quote(one.lineage)} --force-renewal{own} --new-key "
        "--key-type ecdsa --elliptic-curve secp256r1"
    )
