"""Lineages join a keyring, serve its keys and leave it: what becomes of the keys then. Pure.

The rules:

* A lineage that joins with a key of its own keeps it in service until it is renewed. That key is the primary
  of its type if there is none yet.
* A backup that a lineage serves has been rolled over to: it becomes primary. The old primary stays
  pinned while another lineage serves it, and retires when none does.
* A neighbour is a certificate of this machine for a host of the keyring that is not enrolled. Clients
  meet its key at that host, so it is in service like any other, and pinned; a backup that a
  neighbour serves is not rolled over to. A host stays the keyring's as long as a neighbour has it.
* Once no lineage serves a type that was served, while another type is served, its keys are retired: its pins
  protect nobody. A type that is staged for certificates to come stays until its first one, or until the admin
  drops it. If no lineage is left at all, everything stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from certbot_pinkeep.core.keyring import KEY_TYPES, Key, Keyring, Member, Role


def with_member(keyring: Keyring, member: Member) -> Keyring:
    """Return the keyring with this lineage as it is now, its live key's role brought up to date."""
    return _followed(
        _without_left_types(_retired(_promoted(_with_member(keyring, member), member.pin)))
    )


def with_neighbour(keyring: Keyring, lineage: str, hosts: tuple[str, ...], key: Key) -> Keyring:
    """Return the keyring with the key in service that a neighbour serves now."""
    member = Member(lineage, hosts, key.pin, enrolled=False)
    return _followed(_retired(_with_member(with_joined(keyring, key), member)))


def with_joined(keyring: Keyring, key: Key) -> Keyring:
    """Return the keyring with the key that a lineage brings along; :func:`with_member` comes next. A
    choice that was forced before was not about that lineage, and holds no more."""
    primary = keyring.primary(key.kind.key_type)
    return _with_incoming(keyring.changed(lambda one: one is primary, forced=False), key)


def with_next(keyring: Keyring, key: Key) -> Keyring:
    """Return the keyring with a key that clients pin already as the primary of its type: lineages go over
    to it. What was primary stays in service, or is a backup."""
    known = keyring.key(key.pin)
    served = keyring.served_pins

    def after(old: Key) -> Key:
        if old.role != "primary" or old.kind.key_type != key.kind.key_type:
            return old
        return replace(old, role="in-service" if old.pin in served else "backup", retire_reason="")

    first = replace(
        known or key, role="primary", path=key.path, retire_reason="", encrypted="", fault=""
    )
    others = (after(old) for old in keyring.keys if old.pin != key.pin)
    return replace(keyring, keys=(first, *others))


def with_transferred(keyring: Keyring, lineage: str, other: str) -> Keyring:
    """Return the keyring with a lineage noted that draws on the keyring *other* now."""
    member = keyring.member(lineage)
    return _with_member(keyring, replace(member, transferred=other)) if member else keyring


def without_members(keyring: Keyring, lineages: Iterable[str]) -> Keyring:
    """Return the keyring without these lineages; keys that only they served are retired."""
    gone = set(lineages)
    left = tuple(m for m in keyring.members if m.lineage not in gone)
    return _without_left_types(_retired(replace(keyring, members=left)))


def without_hosts(keyring: Keyring, hosts: Iterable[str]) -> Keyring:
    """Return the keyring without its neighbours at hosts that another keyring has now."""
    gone = set(hosts)
    left = keyring
    for one in keyring.neighbours:
        hosts = tuple(host for host in one.hosts if host not in gone)
        left = _with_member(left, replace(one, hosts=hosts))
    return without_members(left, (one.lineage for one in left.neighbours if not one.hosts))


def _with_member(keyring: Keyring, member: Member) -> Keyring:
    known = {m.lineage: m for m in keyring.members}
    return replace(keyring, members=tuple({**known, member.lineage: member}.values()))


def _with_incoming(keyring: Keyring, key: Key) -> Keyring:
    role: Role = "primary" if keyring.primary(key.kind.key_type) is None else "in-service"
    known = keyring.key(key.pin)
    if known is None:
        return keyring.with_keys([replace(key, role=role)])
    if known.role != "retired":
        return keyring
    reason = "revoked" if known.retire_reason == "revoked" else ""
    return keyring.changed(lambda one: one is known, role=role, retire_reason=reason)


def _promoted(keyring: Keyring, pin: str) -> Keyring:
    key = keyring.key(pin)
    if key is None or key.role != "backup":
        return keyring
    old = keyring.primary(key.kind.key_type)
    result = keyring.changed(lambda one: one is key, role="primary", retire_reason="")
    reason = (old and old.retire_reason) or "asked"
    return result.changed(
        lambda one: one is old, role="in-service", retire_reason=reason, forced=False
    )


def _followed(keyring: Keyring) -> Keyring:
    """Return the keyring without forced choices that every lineage has followed."""
    served = keyring.in_service()
    followed = [
        key
        for key in served
        if key.role == "primary"
        and [one.kind.key_type for one in served].count(key.kind.key_type) == 1
    ]
    return keyring.changed(lambda key: key in followed, forced=False)


def _retired(keyring: Keyring) -> Keyring:
    served = keyring.served_pins
    return keyring.changed(
        lambda key: key.role == "in-service" and key.pin not in served, role="retired"
    )


def _without_left_types(keyring: Keyring) -> Keyring:
    result, served = keyring, {key.kind.key_type for key in keyring.in_service()}
    for key_type in KEY_TYPES:
        if served and key_type not in served and not keyring.is_in_advance(key_type):
            result = result.without_type(key_type)
    return result
