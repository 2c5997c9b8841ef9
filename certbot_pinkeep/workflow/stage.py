"""Backups and their CSRs: what is staged before it is needed.

The rules:

* Keys and CSRs are saved before the keyring file names them (G5).
* If files of keys are gone, all of them even, the run goes on: the live key is saved to keys/ again,
  and new backups take the places of those that are lost. If they were only away (a folder that was
  not mounted), they are backups again once they are back.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime

from certbot_pinkeep.adapters import renewal_conf
from certbot_pinkeep.adapters.lineage import Live
from certbot_pinkeep.core import explain, membership, pins, rollover, staging, text
from certbot_pinkeep.core.errors import BadKey, PinkeepError
from certbot_pinkeep.core.key_and_csr import SavedCsr, csr_request
from certbot_pinkeep.core.keyring import Key, Keyring
from certbot_pinkeep.core.kinds import KeyKind
from certbot_pinkeep.core.options import Options
from certbot_pinkeep.core.pem import kind_of, load_private_key
from certbot_pinkeep.core.rollover import Safety
from certbot_pinkeep.core.state import State
from certbot_pinkeep.storage import keys_and_csrs
from certbot_pinkeep.workflow.workspace import Names, Workspace

logger = logging.getLogger(__name__)


def paths_of(keyring: Keyring) -> list[str]:
    """Return the files of the keyring's keys, below the config dir, encrypted ones among them."""
    return [path for key in keyring.keys for path in (key.path, key.encrypted) if path]


# Backups


def with_backups(workspace: Workspace, keyring: Keyring, wanted: int, now: datetime) -> Keyring:
    """Return the keyring with as many backups of each type; those that are lacking are made."""
    taken = paths_of(keyring)
    new = [
        workspace.folders.save_key(keys_and_csrs.make_key(kind), taken)
        for kind, count in staging.missing_backups(keyring, wanted).items()
        for _ in range(count)
    ]
    return keyring.with_keys(Key(saved.pin, saved.kind, "backup", saved.path, now) for saved in new)


def replenished(workspace: Workspace, state: State, chosen: Options, now: datetime) -> Keyring:
    """Return the keyring with as many backups as are wanted. Those that cannot be used are retired. A message
    tells from when a rollover to their successors is safe."""
    lost = state.keyring.lost()
    for key in lost:
        logger.error("%s", explain.lost(key))
    keyring = staging.with_backup_count(staging.without_lost(state.keyring), chosen.backup_keys)
    keyring = with_backups(workspace, keyring, chosen.backup_keys, now)
    known = {key.pin for key in state.keyring.keys}
    new = [key for key in keyring.keys if key.role == "backup" and key.pin not in known]
    if lost and new:
        safety = _once_published(replace(state, keyring=keyring), new[0], chosen, now)
        logger.warning("%s", explain.replaced(keyring.name, len(new), safety))
    return keyring


def with_live_file(workspace: Workspace, keyring: Keyring, live: Live) -> Keyring:
    """Return the keyring with the file of the live key in its place: archive/ alone would lose it.

    :raises BadKey: if that key does not belong to the live certificate
    """
    key = keyring.key(live.pin)
    if key is None or workspace.folders.holds(key):
        return keyring
    saved = workspace.folders.find_key(live.pin)
    path = saved.path if saved else workspace.adopted_key(live, paths_of(keyring)).path
    return keyring.with_file(live.pin, path) if path else keyring


def pin_key(workspace: Workspace, keyring: str, pem: bytes, now: datetime) -> None:
    """Record a key that clients pin already as the one that the keyring's certificates are renewed for.

    :param pem: the private key, unencrypted
    :raises BadKey: if it cannot be
    """
    public = load_private_key(pem).public_key()
    pin, kind = pins.pin_of(public), kind_of(public)
    folders = workspace.folders
    with workspace.store.locked():
        state = workspace.load_state(keyring, now)
        assert state is not None  # the lineage was enrolled
        keys, known = state.keyring, state.keyring.key(pin)
        if workspace.store.is_compromised(pin):
            raise BadKey(f"the key with the pin {pin} is compromised, and is never used again")
        if known is None or known.role != "primary" or not folders.holds(known):
            saved = folders.save_key(pem, paths_of(keys))
            keys = membership.with_next(keys, Key(pin, kind, "primary", saved.path, now))
            save_csrs(workspace, keys)
            workspace.store.save(replace(state, keyring=keys))


# The first keys of a type


def stage_type(workspace: Workspace, keyring: str, kind: KeyKind, now: datetime) -> None:
    """Record the first keys of a type, for a certificate to come."""
    workspace.folders.check()
    with workspace.store.locked():
        state = workspace.load_state(keyring, now)
        assert state is not None
        keys = state.keyring
        if kind.key_type not in keys.key_types():
            saved = workspace.folders.save_key(keys_and_csrs.make_key(kind), paths_of(keys))
            keys = keys.with_keys([Key(saved.pin, saved.kind, "primary", saved.path, now)])
            keys = with_backups(workspace, keys, state.chosen().backup_keys, now)
            workspace.store.save(replace(state, keyring=keys))


def type_is_safe(
    workspace: Workspace, keyring: str, kind: KeyKind, hosts: Names, now: datetime
) -> str:
    """Say when a certificate of a type that is staged can be issued, as a sentence. If it is not
    published yet, it is taken to be published now."""
    state = workspace.load_state(keyring, now)
    primary = state.keyring.primary(kind.key_type) if state else None
    assert state is not None and primary is not None
    return explain.staged(keyring, _once_published(state, primary, state.chosen(), now, hosts))


def _once_published(
    state: State, key: Key, chosen: Options, now: datetime, hosts: Names | None = None
) -> Safety:
    """Return when a rollover to a key that has just been staged is safe. If it is not published yet, it is
    taken to be published now.

    :param hosts: as for :func:`rollover.safety`
    """
    ledger, current = state.ledger, state.ledger.current
    if current is not None and key.pin not in current.pins:
        ledger = ledger.record(replace(current.policy, pins=state.keyring.published_pins()), now)
        ledger = ledger if chosen.reload == () else ledger.confirm(now)
    return rollover.safety(key, ledger, now, hosts)


# CSRs


def csrs_of(workspace: Workspace, keyring: Keyring, live: Live) -> list[str]:
    """Return the CSRs of the lineage's names for each key that it may be issued for; those that are
    lacking are made."""
    index = workspace.folders.saved_csrs()
    paths = []
    for key in keyring.keys:
        if key.role not in ("primary", "backup") or key.kind.key_type != live.kind.key_type:
            continue
        csr = index.get(csr_request(key.pin, live.requested, must_staple=live.must_staple))
        if csr is None and key.offline:
            continue
        if csr is None:
            csr = _made_csr(workspace, key, live)
        paths.append(csr.path or "" if csr else "")
    return paths


def save_csrs(workspace: Workspace, keyring: Keyring) -> None:
    """Save the CSRs that are lacking for the keys of the keyring.

    :raises OSError: if they cannot be written
    """
    for member in keyring.drawing:
        try:
            renewal = renewal_conf.load(workspace.config_dir, member.lineage)
            if renewal is not None:
                live = workspace.look(member.lineage, must_staple=renewal.must_staple)
                csrs_of(workspace, keyring, live)
        except PinkeepError as error:
            logger.debug("%s", error)  # its own turn tells


def _made_csr(workspace: Workspace, key: Key, live: Live) -> SavedCsr | None:
    try:
        pem = workspace.load_key(key).pem
        pem = keys_and_csrs.make_csr(pem, live.requested, must_staple=live.must_staple)
    except BadKey as error:
        logger.error("%s", error)  # the primary's: a handover copes with that
        return None
    except ValueError as error:
        # No CSR can hold such a name. A renewal asks for what certbot asks for.
        logger.debug("No CSR for %s: %s", live.name, text.short(error))
        return None
    return workspace.folders.save_csr(pem)
