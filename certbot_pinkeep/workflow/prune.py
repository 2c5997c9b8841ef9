"""Prune: delete the files of retired keys that nobody needs any more.

The rules:

* A retired key goes if no client can hold its pin, and no release and no zone carries the pin. No keyring may
  have the key in another role, and certbot no certificate of the key. Each key that stays is told, with the
  reason. While a header or a zone could not be looked at, every key stays.
* If pinkeep cannot tell what clients hold, or cannot read a keyring file, nothing goes (G8).
* A key goes with its CSRs: a CSR that waits with its key is used for a new certificate.
* The CSRs go first, then the key's files, then the key's record. The next prune completes one that was
  stopped (G5).
* A compromised key stays as it is. A revoked one loses its files and stays on record: pinkeep has to know
  the key if the key comes back.
* Only files in certbot's own folders go, and only if they hold what they are deleted for (G9).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from certbot_pinkeep.adapters import lineage
from certbot_pinkeep.core import times
from certbot_pinkeep.core.errors import DamagedState, PinkeepError
from certbot_pinkeep.core.holdings import Entry, Holding, Release, ZoneEntry
from certbot_pinkeep.core.keyring import Key
from certbot_pinkeep.core.state import State
from certbot_pinkeep.storage.keys_and_csrs import FilesOfKey, Folders
from certbot_pinkeep.workflow import requests
from certbot_pinkeep.workflow.workspace import Workspace


@dataclass(frozen=True)
class Pruned:
    """Hold what a prune did, or would do.

    :ivar gone: the retired keys that nobody needs, and their files
    :ivar kept: the other retired keys, and why each of them stays
    """

    gone: tuple[tuple[Key, FilesOfKey], ...]
    kept: tuple[tuple[Key, str], ...]


def prune(workspace: Workspace, name: str, now: datetime, *, dry_run: bool = False) -> Pruned:
    """Delete the files of a keyring's retired keys that nobody needs.

    :param dry_run: whether nothing is deleted
    :raises PinkeepError: if pinkeep cannot tell what somebody needs
    """
    with requests.loaded(workspace, name, now) as state:
        _check_certain(workspace, state, now)
        retired = [
            key
            for key in state.keyring.keys
            if key.role == "retired" and (key.path or key.encrypted)
        ]
        # Its own copy may know more, but only what was replaced since.
        others = [one for one in workspace.all_known() if one.keyring.name != name]
        kept, folders = lineage.kept_pins(workspace.config_dir), workspace.folders
        files = folders.files_of(retired)
        whys = {
            key.pin: _why(key, state, others, kept, now) or _other_file(folders, key, files)
            for key in retired
        }
        found = Pruned(
            tuple((key, files[key.pin]) for key in retired if not whys[key.pin]),
            tuple((key, whys[key.pin]) for key in retired if whys[key.pin]),
        )
        if found.gone and not dry_run:
            folders.check()
            folders.delete(path for _, one in found.gone for path in one.paths)
            workspace.store.save(_without(state, [key for key, _ in found.gone]))
    return found


def _other_file(folders: Folders, key: Key, files: Mapping[str, FilesOfKey]) -> str:
    """Say why the file of a key stays, as a part of a sentence; empty: it goes, or is gone."""
    path = folders.absolute(key.path or key.encrypted)
    if os.path.lexists(path) and path not in files[key.pin].keys:
        return f"{path} is a link, is in another folder, or does not hold it"
    return ""


def _without(state: State, gone: Iterable[Key]) -> State:
    """Take these keys out of the keyring; of revoked keys, take the files out."""
    revoked = {key.pin for key in gone if key.retire_reason == "revoked"}
    keyring = state.keyring.without(key.pin for key in gone if key.pin not in revoked)
    keyring = keyring.changed(lambda key: key.pin in revoked, path=None, encrypted="")
    return replace(state, keyring=keyring)


def _check_certain(workspace: Workspace, state: State, now: datetime) -> None:
    """See that pinkeep can tell what clients hold."""
    name, unknown = state.keyring.name, state.ledger.uncertainty(now)
    if unknown is not None:
        until = f" until {times.text(unknown.end)}" if unknown.end else ""
        clock = f"certbot-pinkeep confirm {name} --clock" if unknown.cause == "clock" else ""
        raise PinkeepError(
            f"pinkeep cannot tell which pins of the keyring {name} clients hold{until}: {unknown.why}.",
            "No key is deleted while that is so."
            + (" If the clock is right now, confirm the clock." if clock else ""),
            run=clock,
        )
    try:
        workspace.store.check_all()
    except DamagedState as error:
        raise PinkeepError(
            f"pinkeep cannot tell which keys the other keyrings need: {error.what}",
            error.why,
            run=error.run,
        ) from error


def _why(
    key: Key, state: State, others: list[State], kept: Mapping[str, str], now: datetime
) -> str:
    """Say why a retired key is needed, as a part of a sentence; empty: it is not.

    :param state: of the key's keyring
    :param kept: the keys of which certbot keeps a certificate, and its file
    """
    held = [
        one
        for each in (state, *others)
        for one in each.ledger.prune(now).holdings
        if key.pin in one.pins or (each is state and _is_unseen(one))
    ]
    if held:
        return _held(held, now)
    waits = state.ledger.pending and key.first_served and not key.last_served
    if waits or key.pin in state.keyring.served_pins:
        return "a server may still serve it"
    for other in others:
        if _names(other, key):
            return f"the keyring {other.keyring.name} has it too"
    if key.pin in kept:
        return f"certbot keeps its certificate {kept[key.pin]}"
    return ""


def _names(state: State, key: Key) -> bool:
    """Say whether a keyring has the key, or a file of the key."""
    files = {key.path, key.encrypted} - {None, ""}
    return key.pin in state.keyring.served_pins or any(
        one.pin == key.pin or one.path in files or one.encrypted in files
        for one in state.keyring.keys
    )


def _is_unseen(one: Holding) -> bool:
    """Say whether pinkeep does not know what it carries."""
    return (isinstance(one, Release) and one.is_unseen) or (
        isinstance(one, ZoneEntry) and not one.pins
    )


def _held(held: list[Holding], now: datetime) -> str:
    unseen = next(filter(_is_unseen, held), None)
    if unseen is not None:
        return f"pinkeep has not seen yet what {unseen} carries"
    releases = [one for one in held if isinstance(one, Release)]
    if releases:
        last = max(releases, key=lambda one: one.binds_until(now))
        return f"{last} carries its pin until {times.text(last.binds_until(now))}"
    for one in held:
        if isinstance(one, ZoneEntry) and one.replaced is None:
            return f"{one} may still carry its pin"
    if any(isinstance(one, Entry) and one.replaced is None for one in held):
        return "a server may still send its pin"
    return f"clients may hold its pin until {times.text(max(one.binds_until(now) for one in held))}"
