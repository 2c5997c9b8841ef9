"""Keys, their roles and their order; the lineages that draw on them. Pure.

The rules:

* Per key type one key is primary: the next renewal is issued for it. Backups follow it in the
  order in which they would be used.
* A lineage that joins with a key of its own keeps it in service until it is renewed. It is the
  primary of its type where there is none yet.
* A key is in service while the certificate of a lineage is for it, whatever its role.
* A backup that a lineage serves has been rolled over to: it becomes primary. The old primary stays
  pinned while another lineage serves it, and retires when none does.
* A neighbour is a certificate of this machine for a host of the keyring that is not enrolled. Clients
  meet its key at that host, so it is in service like any other, and pinned; a backup that a
  neighbour serves is not rolled over to. A host stays the keyring's as long as a neighbour has it.
* Pins are published in this order: those in service (primaries first), then the unserved keys in
  the order in which they would be used, type by type.
* Each key type in service needs a pinned key that is not in service (RFC 7469 §2.5, §4.3; G4): with
  RSA and ECDSA side by side, the other type's live pin is no backup.
* Once no lineage serves a type that was served, while another type is served, its keys are retired: its
  pins protect nobody. A type that is staged for certificates to come stays until its first one, or until
  the admin drops it. Where no lineage is left at all, everything stays.
* Keys are never deleted. One that is not needed any more is retired; a retired one that was never
  served is staged again before a new key is made.
* A backup that the admin added keeps its place until it is used or dropped, and does not count
  among those that are made. Its private key may be offline or encrypted.
* A backup whose file cannot be used is none (see ``csrs``). It is staged again once the file is there,
  beside what took its place.
* A wish to leave a key belongs to the key: it is fulfilled once another one is primary. A key that
  is compromised is never primary, a backup or staged again; it stays pinned while it is served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from certbot_pinkeep.core.errors import BadPolicy
from certbot_pinkeep.core.kinds import KeyKind, KeyType

Role = Literal["primary", "backup", "in-service", "retired", "compromised"]
#: Why a key is to be left as soon as that is safe; empty: it is not. "lost": it was a backup, and is one
#: again once its file is there.
RetireReason = Literal["", "asked", "revoked", "lost"]
KEY_TYPES: tuple[KeyType, ...] = ("rsa", "ecdsa")


@dataclass(frozen=True)
class Key:
    """A key of a keyring.

    :ivar pin: its pin (RFC 7469 §2.4)
    :ivar path: its private key's file, below certbot's config dir; ``None`` while it is offline
    :ivar created: when it was made or, for an adopted one, the earliest certificate seen for it
    :ivar first_served: from when a certificate for it was served; ``None``: never yet, or unknown
    :ivar last_served: until when it was; ``None``: it still is, or never was, or unknown
    :ivar retire_reason: why it is to be left as soon as that is safe
    :ivar forced: whether the admin chose to switch to it, whoever is locked out
    :ivar added: whether it is kept beyond the backups that are made: the admin brought it, or its file
        was lost for a while
    :ivar encrypted: the file of its encrypted private key, below the config dir; empty: there is none
    :ivar fault: why its file cannot be used, as a sentence; empty: it can, or is offline. It is found
        on loading, and is no part of the record
    """

    pin: str
    kind: KeyKind
    role: Role
    path: str | None
    created: datetime
    first_served: datetime | None = None
    retire_reason: RetireReason = ""
    forced: bool = False
    last_served: datetime | None = None
    added: bool = False
    encrypted: str = ""
    fault: str = field(default="", compare=False)

    @property
    def offline(self) -> bool:
        """Whether it is a backup whose private key has to be brought before it can be used."""
        return self.path is None and self.role == "backup"

    @property
    def is_lost(self) -> bool:
        """Whether it is a backup whose file cannot be used."""
        return self.role == "backup" and bool(self.fault) and not self.offline


@dataclass(frozen=True)
class Member:
    """A lineage that draws on the keyring, as it was seen last.

    :ivar lineage: certbot's name for it
    :ivar hosts: the names of its certificate; of a neighbour's, the hosts that the keyring pins
    :ivar pin: the pin of its live key
    :ivar loaded: SHA-256 (hex) of the certificate that Apache is known to have loaded
    :ivar transferred: the keyring that it draws on now; until Apache is known to send that one's header
        for it, its key stays in service here; empty: this one
    :ivar enrolled: whether it draws on the keyring, or did so until it moved; else it is a neighbour
    """

    lineage: str
    hosts: tuple[str, ...]
    pin: str
    loaded: str | None = None
    transferred: str = ""
    enrolled: bool = True


@dataclass(frozen=True)
class Keyring:
    """The keys that one or more lineages draw on, in the order of their use.

    :ivar rollover_days: the age in days at which a primary is to be left; ``None``: never
    """

    name: str
    members: tuple[Member, ...] = ()
    keys: tuple[Key, ...] = ()
    rollover_days: int | None = None

    @property
    def hosts(self) -> tuple[str, ...]:
        """All names of all lineages, in order, once each."""
        return tuple(dict.fromkeys(host for member in self.members for host in member.hosts))

    @property
    def drawing(self) -> tuple[Member, ...]:
        """The lineages that draw on it now: those that have moved draw on another one."""
        return tuple(one for one in self.members if one.enrolled and not one.transferred)

    @property
    def neighbours(self) -> tuple[Member, ...]:
        """The certificates for its hosts that are not enrolled."""
        return tuple(member for member in self.members if not member.enrolled)

    def key(self, pin: str) -> Key | None:
        """The key with this pin."""
        return next((key for key in self.keys if key.pin == pin), None)

    def member(self, lineage: str) -> Member | None:
        """The lineage of this name."""
        return next((member for member in self.members if member.lineage == lineage), None)

    def primary(self, key_type: KeyType) -> Key | None:
        """The key that the next renewal of this type is issued for."""
        return next(iter(self._with_role(key_type, "primary")), None)

    def backups(self, key_type: KeyType) -> tuple[Key, ...]:
        """The staged keys of this type, the next one first."""
        return self._with_role(key_type, "backup")

    def key_types(self) -> tuple[KeyType, ...]:
        """The key types that it has keys of for the next certificates, or in service."""
        kept = {key.kind.key_type for key in (*self.in_service(), *self._staged())}
        return tuple(key_type for key_type in KEY_TYPES if key_type in kept)

    def served_types(self) -> tuple[KeyType, ...]:
        """The key types that enrolled lineages serve; where none serves any, all that it has keys of."""
        pins = {member.pin for member in self.members if member.enrolled}
        served = {key.kind.key_type for key in self.keys if key.pin in pins}
        return tuple(one for one in self.key_types() if one in served) or self.key_types()

    def kind(self, key_type: KeyType) -> KeyKind | None:
        """The kind of new keys of this type: the primary's, else that of the next best one."""
        known = [self.primary(key_type), *self.in_service(), *self.backups(key_type)]
        return next((key.kind for key in known if key and key.kind.key_type == key_type), None)

    def in_service(self) -> tuple[Key, ...]:
        """The keys that a lineage serves, primaries first."""
        served = {member.pin for member in self.members}
        keys = [key for key in self.keys if key.pin in served]
        return tuple(sorted(keys, key=lambda key: key.role != "primary"))

    def published_pins(self) -> tuple[str, ...]:
        """The pins of the header, in their order.

        :raises BadPolicy: when no unserved key of a type in service could be listed (G4)
        """
        served = self.in_service()
        staged = [key for key in self._staged() if key not in served]
        for key_type in {key.kind.key_type for key in served}:
            if not any(key.kind.key_type == key_type for key in staged):
                raise BadPolicy(
                    f"The keyring {self.name} has no {key_type} backup that is not in service, and "
                    "pins without one must not be published (RFC 7469 §4.3)."
                )
        return tuple(key.pin for key in (*served, *staged))

    def _staged(self) -> list[Key]:
        order = {"primary": 0, "backup": 1}
        return sorted(
            (key for key in self.keys if key.role in order),
            key=lambda key: (KEY_TYPES.index(key.kind.key_type), order[key.role]),
        )

    def _with_role(self, key_type: KeyType, role: Role) -> tuple[Key, ...]:
        return tuple(key for key in self.keys if key.kind.key_type == key_type and key.role == role)

    def with_keys(self, keys: Iterable[Key]) -> Keyring:
        """The keyring with *keys* added at the end."""
        return replace(self, keys=(*self.keys, *keys))

    def with_member(self, member: Member) -> Keyring:
        """The keyring with this lineage as it is now, its live key's role brought into step."""
        return (
            self._with_member(member)
            ._promoted(member.pin)
            ._retired()
            ._without_left_types()
            ._followed()
        )

    def with_neighbour(self, lineage: str, hosts: tuple[str, ...], key: Key) -> Keyring:
        """The keyring with the key in service that a neighbour serves now."""
        member = Member(lineage, hosts, key.pin, enrolled=False)
        return self.with_joined(key)._with_member(member)._retired()._followed()

    def without_hosts(self, hosts: Iterable[str]) -> Keyring:
        """The keyring without its neighbours at hosts that another keyring has now."""
        gone = set(hosts)
        left = {m.lineage: tuple(h for h in m.hosts if h not in gone) for m in self.neighbours}
        kept = self._with_members(
            replace(m, hosts=left[m.lineage]) if not m.enrolled else m for m in self.members
        )
        return kept.without_members(name for name, hosts_ in left.items() if not hosts_)

    def _with_member(self, member: Member) -> Keyring:
        known = self.member(member.lineage)
        if known is None:
            return self._with_members((*self.members, member))
        return self._with_members(member if m is known else m for m in self.members)

    def with_joined(self, key: Key) -> Keyring:
        """The keyring with the key that a lineage brings along; :meth:`with_member` comes next. A
        choice that was forced before was not about that lineage, and holds no more."""
        return self._unforced(key.kind.key_type)._with_brought(key)

    def _with_brought(self, key: Key) -> Keyring:
        role: Role = "primary" if self.primary(key.kind.key_type) is None else "in-service"
        known = self.key(key.pin)
        if known is None:
            return self.with_keys([replace(key, role=role)])
        if known.role != "retired":
            return self
        back = replace(
            known, role=role, retire_reason="revoked" if known.retire_reason == "revoked" else ""
        )
        return self._changed(lambda k: back if k is known else k)

    def with_next(self, key: Key) -> Keyring:
        """The keyring with a key that clients pin already as the primary of its type: lineages go over
        to it. What was primary stays in service, or is a backup."""
        known = self.key(key.pin)
        served = {member.pin for member in self.members}

        def after(old: Key) -> Key:
            if old.role != "primary" or old.kind.key_type != key.kind.key_type:
                return old
            return replace(
                old, role="in-service" if old.pin in served else "backup", retire_reason=""
            )

        first = replace(
            known or key, role="primary", path=key.path, retire_reason="", encrypted="", fault=""
        )
        others = (after(old) for old in self.keys if old.pin != key.pin)
        return replace(self, keys=(first, *others))

    def with_type(self, key: Key) -> Keyring:
        """The keyring with the first key of a type, for certificates to come."""
        return self.with_keys([replace(key, role="primary")])

    def with_transferred(self, lineage: str, keyring: str) -> Keyring:
        """The keyring with a lineage noted that draws on another one now."""
        return self._with_members(
            replace(m, transferred=keyring) if m.lineage == lineage else m for m in self.members
        )

    def without_members(self, lineages: Iterable[str]) -> Keyring:
        """The keyring without these lineages; keys that only they served are retired."""
        gone = set(lineages)
        left = self._with_members(m for m in self.members if m.lineage not in gone)
        return left._retired()._without_left_types()

    def _with_members(self, members: Iterable[Member]) -> Keyring:
        return replace(self, members=tuple(members))

    def served_since(self, times: dict[str, datetime]) -> Keyring:
        """The keyring with the first service of keys noted, by pin, where none was known."""
        return self._changed(
            lambda key: (
                replace(key, first_served=key.first_served or times[key.pin])
                if key.pin in times
                else key
            )
        )

    def left_at(self, now: datetime) -> Keyring:
        """The keyring with the last service noted of keys that no lineage serves any more."""
        served = {member.pin for member in self.members}

        def noted(key: Key) -> Key:
            if key.pin in served or key.first_served is None:
                return replace(key, last_served=None)
            return replace(key, last_served=key.last_served or max(now, key.first_served))

        return self._changed(noted)

    def served_by(self, now: datetime) -> Keyring:
        """The keyring with nothing made or served later than *now*."""
        return self._changed(
            lambda key: replace(
                key,
                created=min(key.created, now),
                first_served=min(key.first_served, now) if key.first_served else None,
                last_served=min(key.last_served, now) if key.last_served else None,
            )
        )

    def loaded(self, lineage: str, fingerprint: str) -> Keyring:
        """The keyring with the certificate noted that Apache has loaded for *lineage*."""
        return self._with_members(
            replace(m, loaded=fingerprint) if m.lineage == lineage else m for m in self.members
        )

    def with_backup_count(self, wanted: int) -> Keyring:
        """The keyring with at most *wanted* unserved backups per type, the last ones retired, and
        as many never-served retired keys staged again as are there and can be used."""
        result = self
        for key_type in self.key_types():
            result = result._trimmed(key_type, wanted)._restaged(key_type, wanted)
        return result._brought_back()

    def _brought_back(self) -> Keyring:
        """The keyring with the backups staged again whose files were lost for a while, beside what has
        taken their places."""
        types = self.key_types()
        back = [
            key
            for key in self.spare()
            if key.retire_reason == "lost" and not key.fault and key.kind.key_type in types
        ]
        return self._changed(
            lambda key: (
                replace(key, role="backup", retire_reason="", added=True) if key in back else key
            )
        )

    def missing_backups(self, wanted: int) -> dict[KeyKind, int]:
        """How many keys of which kind to make, so that *wanted* unserved backups are staged."""
        missing = {}
        for key_type in self.key_types():
            kind = self.kind(key_type)
            lack = wanted - len(self._unserved(key_type, "backup"))
            if kind and lack > 0:
                missing[kind] = lack
        return missing

    # What is to become of a key

    def mark_for_retirement(self, reason: RetireReason) -> Keyring:
        """The keyring with the wish to leave the primaries of the types in service; an earlier wish
        stays."""
        served = self.served_types()
        return self._changed(
            lambda key: (
                replace(key, retire_reason=key.retire_reason or reason)
                if key.role == "primary" and key.kind.key_type in served
                else key
            )
        )

    def without_requests(self) -> Keyring:
        """The keyring without what the admin asked for or forced; what is revoked stays so."""

        def calmed(key: Key) -> Key:
            asked = key.role == "primary" and key.retire_reason == "asked"
            return replace(key, forced=False, retire_reason="" if asked else key.retire_reason)

        return self._changed(calmed)

    def with_revoked(self, pin: str) -> Keyring:
        """The keyring with the certificate of this key revoked: it is left as soon as that is
        safe."""
        return self._changed(
            lambda key: replace(key, retire_reason="revoked") if key.pin == pin else key
        )

    def with_compromised(self, pin: str) -> Keyring:
        """The keyring with this key compromised: it is never handed over again."""
        return self._changed(
            lambda key: (
                replace(key, role="compromised", retire_reason="", forced=False)
                if key.pin == pin
                else key
            )
        )

    def with_forced(self, pin: str) -> Keyring:
        """The keyring with this backup chosen, before all others of its type."""
        chosen = self.key(pin)
        if chosen is None or chosen.role != "backup":
            return self
        others = [
            replace(key, forced=key.forced and key.kind.key_type != chosen.kind.key_type)
            for key in self.keys
            if key is not chosen
        ]
        return replace(self, keys=(replace(chosen, forced=True), *others))

    def without_lost(self) -> Keyring:
        """The keyring with the backups retired whose files cannot be used, until they can again. Another
        one takes the place of each; clients and apps may know of both by then."""
        return self._changed(
            lambda key: (
                replace(key, role="retired", forced=False, retire_reason="lost")
                if key.is_lost
                else key
            )
        )

    def lost(self) -> tuple[Key, ...]:
        """The backups whose files cannot be used."""
        return tuple(key for key in self.keys if key.is_lost)

    def with_file(self, pin: str, path: str) -> Keyring:
        """The keyring with the file of a key in another place, or with one that was offline."""
        return self._changed(
            lambda key: replace(key, path=path, encrypted="", fault="") if key.pin == pin else key
        )

    def with_backup(self, key: Key) -> Keyring:
        """The keyring with a backup that the admin adds, behind the others; one that was dropped is
        staged again."""
        return self.without([key.pin]).with_keys([replace(key, role="backup", added=True)])

    def without_backup(self, pin: str) -> Keyring:
        """The keyring with a backup retired, and not staged again."""
        return self._changed(
            lambda key: (
                replace(key, role="retired", retire_reason="asked", forced=False)
                if key.pin == pin and key.role == "backup"
                else key
            )
        )

    def without_offline(self) -> Keyring:
        """The keyring without the backups whose private keys are offline."""
        return self.without(key.pin for key in self.keys if key.offline)

    def with_primary(self, key: Key) -> Keyring:
        """The keyring with a key that came past it as the primary of its type, unless it is
        compromised."""
        known = self.key(key.pin)
        if known is not None and known.role == "compromised":
            return self
        old = self.primary(key.kind.key_type)
        left = self._changed(
            lambda k: replace(k, role="retired", retire_reason="asked") if k is old else k
        )
        return replace(left.without([key.pin]), keys=(key, *left.without([key.pin]).keys))

    def spare(self) -> tuple[Key, ...]:
        """The retired keys that can be staged again: never served, and not left for a reason."""
        return tuple(
            key
            for key in self.keys
            if key.role == "retired"
            and key.first_served is None
            and key.retire_reason in ("", "lost")
            and key.path
        )

    def without(self, pins: Iterable[str]) -> Keyring:
        """The keyring without these keys."""
        dropped = set(pins)
        return replace(self, keys=tuple(key for key in self.keys if key.pin not in dropped))

    def _promoted(self, pin: str) -> Keyring:
        key = self.key(pin)
        if key is None or key.role != "backup":
            return self
        old = self.primary(key.kind.key_type)
        return self._changed(
            lambda k: (
                replace(k, role="primary", retire_reason="")
                if k is key
                else replace(
                    k, role="in-service", retire_reason=k.retire_reason or "asked", forced=False
                )
                if k is old
                else k
            )
        )

    def _unforced(self, key_type: KeyType) -> Keyring:
        primary = self.primary(key_type)
        return self._changed(lambda key: replace(key, forced=False) if key is primary else key)

    def _followed(self) -> Keyring:
        """The keyring without forced choices that every lineage has followed."""
        served = {key.kind.key_type: set[str]() for key in self.keys}
        for key in self.in_service():
            served[key.kind.key_type].add(key.pin)
        return self._changed(
            lambda key: (
                replace(key, forced=False)
                if key.role == "primary" and served[key.kind.key_type] == {key.pin}
                else key
            )
        )

    def _retired(self) -> Keyring:
        served = {member.pin for member in self.members}
        return self._changed(
            lambda key: (
                replace(key, role="retired")
                if key.role == "in-service" and key.pin not in served
                else key
            )
        )

    def is_in_advance(self, key_type: KeyType) -> bool:
        """Whether the keys of this type are staged for certificates to come: as far as is known, none was
        served yet."""
        if any(key.kind.key_type == key_type for key in self.in_service()):
            return False
        primary = self.primary(key_type)
        keys = [primary] if primary else [k for k in self.keys if k.kind.key_type == key_type]
        return not any(key.first_served for key in keys)

    def without_type(self, key_type: KeyType) -> Keyring:
        """The keyring with the keys of a type retired."""
        return self._changed(
            lambda key: (
                replace(key, role="retired", forced=False)
                if key.role in ("primary", "backup") and key.kind.key_type == key_type
                else key
            )
        )

    def _without_left_types(self) -> Keyring:
        result, served = self, {key.kind.key_type for key in self.in_service()}
        for key_type in KEY_TYPES:
            if served and key_type not in served and not self.is_in_advance(key_type):
                result = result.without_type(key_type)
        return result

    def _unserved(self, key_type: KeyType, role: Role) -> list[Key]:
        served = {member.pin for member in self.members}
        return [
            key
            for key in self._with_role(key_type, role)
            if key.pin not in served and not key.added
        ]

    def _trimmed(self, key_type: KeyType, wanted: int) -> Keyring:
        surplus = self._unserved(key_type, "backup")[wanted:]
        return self._changed(lambda key: replace(key, role="retired") if key in surplus else key)

    def _restaged(self, key_type: KeyType, wanted: int) -> Keyring:
        kind = self.kind(key_type)
        lack = wanted - len(self._unserved(key_type, "backup"))
        served = {member.pin for member in self.members}
        spare = [
            key
            for key in self.spare()
            if key.kind == kind and not key.added and not key.fault and key.pin not in served
        ][: max(lack, 0)]
        kept = tuple(key for key in self.keys if key not in spare)
        staged = (replace(key, role="backup", retire_reason="") for key in spare)
        return replace(self, keys=(*kept, *staged))

    def _changed(self, change: Callable[[Key], Key]) -> Keyring:
        return replace(self, keys=tuple(change(key) for key in self.keys))
