"""Backups that the admin brings: known by a CSR or a public key alone, encrypted, or whole.

The rules:

* A pin is all that a backup needs to be published: its kind is known once its CSR or key is imported.
  Its private key is needed when it is to be used (see ``rollover``), and is compared with the pin then.
* A key that is compromised, or was in service and left, is no backup; nor is one of a type that the
  keyring does not serve.
* Files are saved before the keyring file names them (G5); nothing is saved of what is refused (G10).
* A dropped backup leaves the pins at once, and another one is made if the admin wants as many
  (G4). Its file stays, and it can be added again.
* A type may be staged for certificates to come. If its first key is dropped, all its keys are.
* A key of a kind that public CAs refuse is no backup, unless one of that kind is in service: its turn would
  come in vain (G3).
* What is on record and not published yet, because a run was killed or Apache refused, is no error: it
  is published.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from certbot_pinkeep.core import pins, rollover, staging
from certbot_pinkeep.core.errors import BadBackup, BadKey
from certbot_pinkeep.core.keyring import Key
from certbot_pinkeep.core.pem import (
    PrivateKey,
    PublicKey,
    is_common,
    kind_of,
    load_public_key,
    write_private_key,
)
from certbot_pinkeep.core.state import State
from certbot_pinkeep.workflow import requests, stage
from certbot_pinkeep.workflow.stage import paths_of
from certbot_pinkeep.workflow.workspace import Workspace


@dataclass(frozen=True)
class Imported:
    """A private key that the admin brings.

    :ivar source: its file, as the admin named it
    :ivar sealed: the encrypted key in PEM, if it is kept as it is
    """

    source: str
    key: PrivateKey = field(repr=False)
    sealed: bytes | None = field(default=None, repr=False)


def add_public(workspace: Workspace, name: str, pem: bytes, source: str, now: datetime) -> Key:
    """Stage a backup of which only the CSR or the public key is here.

    :param source: the file, as the admin named it
    :raises BadBackup: if it cannot be one
    """
    try:
        public = load_public_key(pem)
    except BadKey as error:
        raise BadBackup(f"--csr {source!r}: {error}") from error
    with requests.loaded(workspace, name, now) as state:
        key = _new(workspace, state, public, f"--csr {source!r}", now)
        known = state.keyring.key(key.pin)
        if known is not None and not _is_left(state, key.pin):
            if known.kind != key.kind:  # a pin alone did not say of which kind it is
                known = replace(known, kind=key.kind)
                _save(workspace, state, known)
                return known
            if _is_done(state, key.pin, listed=True):
                raise BadBackup(f"--csr {source!r}: {key.pin} is a backup of {name} already.")
            return known
        saved = workspace.folders.find_key(key.pin)  # its private key may be here all the same
        key = replace(key, path=saved.path if saved else None)
        _save(workspace, state, key)
    return key


def add_private(
    workspace: Workspace, name: str, imported: Imported, now: datetime, *, new: bool = False
) -> Key:
    """Bring the private key of a backup that waits for it, or stage a new one.

    :param new: whether it may be new though others wait for theirs
    :raises BadBackup: if it cannot be one, or is none of those that wait
    """
    option = f"--key {imported.source!r}"
    with requests.loaded(workspace, name, now) as state:
        key = _new(workspace, state, imported.key.public_key(), option, now)
        known = state.keyring.key(key.pin)
        waiting = [one.pin for one in state.keyring.backups(key.kind.key_type) if one.offline]
        staged = known is not None and known.role == "backup"
        if known is not None and staged and not known.offline and not known.fault:
            if _is_done(state, key.pin, listed=True):
                raise BadBackup(f"{option}: {key.pin} is a backup of {name} already, with its key.")
            return known
        if waiting and key.pin not in waiting and not new:
            raise BadBackup(
                f"{option}: that is the key with the pin {key.pin}. The keyring waits for the private key "
                f"of {', '.join(waiting)}.",
                "To stage the key as one more backup, add --new.",
            )
        workspace.folders.check()
        taken = paths_of(state.keyring)
        if imported.sealed is not None:
            key = replace(key, encrypted=workspace.folders.save_encrypted(imported.sealed, taken))
        else:
            pem = write_private_key(imported.key)
            saved = workspace.folders.save_key(pem, taken)
            key = replace(key, path=saved.path)
        if known is not None and staged:
            key = replace(
                known, kind=key.kind, path=key.path, encrypted=key.encrypted or "", fault=""
            )
        _save(workspace, state, key)
    return key


def drop(workspace: Workspace, name: str, pin: str, now: datetime) -> Key:
    """Have a backup leave the pins.

    :raises BadBackup: if it is none
    """
    with requests.loaded(workspace, name, now) as state:
        key = state.keyring.key(pin)
        if (
            key is not None
            and (key.retire_reason == "asked" or key.kind.key_type not in state.keyring.key_types())
            and _is_left(state, pin)
            and not _is_done(state, pin, listed=False)
        ):
            return key
        in_advance = key is not None and state.keyring.is_in_advance(key.kind.key_type)
        first = key is not None and state.keyring.primary(key.kind.key_type) in (None, key)
        if key is not None and key.role in ("primary", "backup") and in_advance and first:
            keyring = state.keyring.without_type(key.kind.key_type)
            workspace.store.save(replace(state, keyring=keyring))
            return key
        if key is None or key.role != "backup":
            known = [one.pin for one in state.keyring.keys if one.role == "backup"]
            what = f"it is {key.role}" if key else "there is no such key"
            raise BadBackup(
                f"{pin!r} is no backup of the keyring {name}: {what}.",
                f"Its backups: {', '.join(known) or 'none'}.",
            )
        workspace.folders.check()
        left = replace(state, keyring=staging.without_backup(state.keyring, pin))
        why = _is_needed(workspace, state, left, key, now)
        if why:
            raise BadBackup(f"{pin} cannot be dropped: {why}")
        keyring = stage.replenished(workspace, left, left.chosen(), now)
        stage.save_csrs(workspace, keyring)
        workspace.store.save(replace(left, keyring=keyring))
    return key


def carriers(state: State, pin: str) -> list[str]:
    """Return which releases carry a dropped pin, as a sentence; empty: none."""
    told = [
        f"{one}, with {len(_staged(state).intersection(one.pins))} of its pins still staged"
        for one in state.ledger.releases
        if pin in one.pins
    ]
    return [f"It goes on being carried by {'; '.join(told)}."] if told else []


def _is_needed(workspace: Workspace, state: State, left: State, key: Key, now: datetime) -> str:
    """Return why a backup cannot be dropped, as a sentence; empty: it can."""
    name, pin, key_type = state.keyring.name, key.pin, key.kind.key_type
    for lineage, live in workspace.live_pins(state.keyring).items():
        if live == pin:
            return f"the certificate of {lineage} is issued for it already.\nRun: certbot renew"
    decided, then = (
        rollover.decide(one.keyring, one.ledger, now, key_type) for one in (state, left)
    )
    if decided.due == "compromised" and decided.key == key and not then.rolls_over:
        return (
            f"the present key of the keyring {name} is compromised, and this is the only backup that "
            "locks nobody out. Renew first.\nRun: certbot renew --force-renewal"
        )
    return ""


def _is_done(state: State, pin: str, *, listed: bool) -> bool:
    """Return whether it is published, and loaded, that the pin is listed, or is not."""
    current = state.ledger.current
    settled = current is not None and not state.ledger.pending
    return settled and current is not None and (pin in current.pins) == listed


def _staged(state: State) -> set[str]:
    return {key.pin for key in state.keyring.keys if key.role == "backup"}


def _is_left(state: State, pin: str) -> bool:
    """Return whether it was a backup that was dropped, or not needed any more."""
    key = state.keyring.key(pin)
    return key is not None and key.role == "retired" and key.first_served is None


def _new(workspace: Workspace, state: State, public: PublicKey, option: str, now: datetime) -> Key:
    """Return the backup as it is to be staged."""
    try:
        pin, kind = pins.pin_of(public), kind_of(public)
    except BadKey as error:
        raise BadBackup(f"{option}: {error}") from error
    keyring = state.keyring
    known = keyring.key(pin)
    why = ""
    if workspace.store.is_compromised(pin):
        why = "that key is compromised, and is never used again"
    elif not is_common(public) and kind not in {one.kind for one in keyring.in_service()}:
        why = (
            f"it is an {kind} key, which public CAs do not take. Public CAs take RSA keys of 2048, 3072 or "
            "4096 bits with the exponent 65537. Public CAs also take ECDSA keys on P-256 and P-384"
        )
    elif kind.key_type not in keyring.key_types():
        served = " and ".join(one.upper() for one in keyring.key_types()) or "no"
        why = f"it is an {kind.key_type.upper()} key, and the keyring {keyring.name} has {served} keys"
    elif known is not None and known.role in ("primary", "in-service"):
        why = f"the keyring {keyring.name} serves that key already"
    elif known is not None and known.role == "retired" and not _is_left(state, pin):
        why = f"the keyring {keyring.name} served that key before and left it"
    if why:
        raise BadBackup(f"{option}: {why} (pin {pin}).")
    return Key(pin, kind, "backup", None, now)


def _save(workspace: Workspace, state: State, key: Key) -> None:
    known = state.keyring.key(key.pin)
    if known is not None and known.role == "backup":
        keys: Iterable[Key] = (key if one is known else one for one in state.keyring.keys)
        keyring = replace(state.keyring, keys=tuple(keys))
    else:
        keyring = staging.with_backup(state.keyring, key)
    stage.save_csrs(workspace, keyring)
    workspace.store.save(replace(state, keyring=keyring))
