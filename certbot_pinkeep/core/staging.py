"""Which backups are staged: how many of each type, and which come back. Pure.

The rules:

* As many unserved backups are staged for each type as the admin wants; the last ones beyond that are
  retired. A retired key that was never served is staged again before a new key is made.
* A backup that the admin added keeps its place until it is used or dropped. Such a backup does not count
  among the others. Its private key may be offline or encrypted.
* A backup whose file cannot be used is none (see ``Key.fault``). Such a backup is staged again once the file
  is there, beside what took its place.
"""

from __future__ import annotations

from dataclasses import replace

from certbot_pinkeep.core.keyring import Key, Keyring
from certbot_pinkeep.core.kinds import KeyKind, KeyType


def with_backup_count(keyring: Keyring, wanted: int) -> Keyring:
    """Return the keyring with at most *wanted* unserved backups per type: the last ones are retired. If some
    lack, retired keys that were never served are staged again."""
    result = keyring
    for key_type in keyring.key_types():
        result = _counted(result, key_type, wanted)
    return _brought_back(result)


def _brought_back(keyring: Keyring) -> Keyring:
    """Return the keyring with the backups staged again whose files are restored, beside what took their
    places."""
    types = keyring.key_types()
    back = [
        key
        for key in keyring.spare()
        if key.retire_reason == "lost" and not key.fault and key.kind.key_type in types
    ]
    return keyring.changed(lambda key: key in back, role="backup", retire_reason="", added=True)


def missing_backups(keyring: Keyring, wanted: int) -> dict[KeyKind, int]:
    """Return how many keys of which kind to make, so that *wanted* unserved backups are staged."""
    missing = {}
    for key_type in keyring.key_types():
        kind = keyring.kind(key_type)
        lack = wanted - len(_unserved(keyring, key_type))
        if kind and lack > 0:
            missing[kind] = lack
    return missing


def without_lost(keyring: Keyring) -> Keyring:
    """Return the keyring with the backups retired whose files cannot be used, until they can again.
    Another one takes the place of each; clients and apps may know of both by then."""
    return keyring.changed(
        lambda key: key.is_lost, role="retired", forced=False, retire_reason="lost"
    )


def with_backup(keyring: Keyring, key: Key) -> Keyring:
    """Return the keyring with a backup that the admin adds, behind the others; one that was dropped is
    staged again."""
    return keyring.without([key.pin]).with_keys([replace(key, role="backup", added=True)])


def without_backup(keyring: Keyring, pin: str) -> Keyring:
    """Return the keyring with a backup retired, and not staged again."""
    return keyring.changed(
        lambda key: key.pin == pin and key.role == "backup",
        role="retired",
        retire_reason="asked",
        forced=False,
    )


def _unserved(keyring: Keyring, key_type: KeyType) -> list[Key]:
    """Return the backups that count among those that are made."""
    served = keyring.served_pins
    return [k for k in keyring.backups(key_type) if k.pin not in served and not k.added]


def _counted(keyring: Keyring, key_type: KeyType, wanted: int) -> Keyring:
    made, kind, served = _unserved(keyring, key_type), keyring.kind(key_type), keyring.served_pins
    surplus, lack = made[wanted:], max(wanted - len(made), 0)
    spare = [
        key
        for key in keyring.spare()
        if key.kind == kind and not key.added and not key.fault and key.pin not in served
    ][:lack]
    staged = (replace(key, role="backup", retire_reason="") for key in spare)
    kept = keyring.without(key.pin for key in spare).with_keys(staged)
    return kept.changed(lambda key: key in surplus, role="retired")
