"""Keys, their roles and their order; the lineages that draw on them. Pure.

The rules:

* Per key type one key is primary: the next renewal is issued for it. Backups follow it in the
  order in which they would be used (see ``staging``).
* A key is in service while the certificate of a lineage is for it, whatever its role (see ``membership``).
* Pins are published in this order: those in service (primaries first), then the backups in the order of their
  use, type by type.
* Each key type in service needs a pinned key that is not in service (RFC 7469 §2.5, §4.3; G4): with
  RSA and ECDSA side by side, the other type's live pin is no backup.
* A key that is not needed any more is retired. Only ``prune`` deletes retired keys, when the admin asks.
* A request to retire a key belongs to the key: it is done once another one is primary. A key that is
  compromised is never primary, a backup or staged again; it stays pinned while it is served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

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
    :ivar forced: whether the admin chose to roll over to it, whoever is locked out
    :ivar added: whether it is kept beyond the backups that are made: the admin imported it, or its file
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
        """Whether it is a backup whose private key has to be imported before it can be used."""
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
    def served_at(self) -> tuple[str, ...]:
        """The names at which its header is sent: not those that have moved to another keyring."""
        staying = (member for member in self.members if not member.transferred)
        return tuple(dict.fromkeys(host for member in staying for host in member.hosts))

    @property
    def drawing(self) -> tuple[Member, ...]:
        """The lineages that draw on it now: those that have moved draw on another one."""
        return tuple(one for one in self.members if one.enrolled and not one.transferred)

    @property
    def example(self) -> str:
        """A lineage that draws on it, for a command; its own name if none does."""
        return next((one.lineage for one in self.drawing), self.name)

    @property
    def neighbours(self) -> tuple[Member, ...]:
        """The certificates for its hosts that are not enrolled."""
        return tuple(member for member in self.members if not member.enrolled)

    def key(self, pin: str) -> Key | None:
        """Return the key with this pin."""
        return next((key for key in self.keys if key.pin == pin), None)

    def member(self, lineage: str) -> Member | None:
        """Return the lineage of this name."""
        return next((member for member in self.members if member.lineage == lineage), None)

    def primary(self, key_type: KeyType) -> Key | None:
        """Return the key that the next renewal of this type is issued for."""
        return next(iter(self._with_role(key_type, "primary")), None)

    def backups(self, key_type: KeyType) -> tuple[Key, ...]:
        """Return the staged keys of this type, the next one first."""
        return self._with_role(key_type, "backup")

    def key_types(self) -> tuple[KeyType, ...]:
        """Return the key types that it has keys of for the next certificates, or in service."""
        kept = {key.kind.key_type for key in (*self.in_service(), *self._staged())}
        return tuple(key_type for key_type in KEY_TYPES if key_type in kept)

    def served_types(self) -> tuple[KeyType, ...]:
        """Return the key types that enrolled lineages serve. If none serves any, return all that it has keys
        of."""
        pins = {member.pin for member in self.members if member.enrolled}
        served = {key.kind.key_type for key in self.keys if key.pin in pins}
        return tuple(one for one in self.key_types() if one in served) or self.key_types()

    def kind(self, key_type: KeyType) -> KeyKind | None:
        """Return the kind of new keys of this type: the primary's, else that of the next best one."""
        known = [self.primary(key_type), *self.in_service(), *self.backups(key_type)]
        return next((key.kind for key in known if key and key.kind.key_type == key_type), None)

    @property
    def served_pins(self) -> frozenset[str]:
        """The pins of the keys that lineages serve."""
        return frozenset(member.pin for member in self.members)

    def in_service(self) -> tuple[Key, ...]:
        """Return the keys that a lineage serves, primaries first."""
        served = self.served_pins
        keys = [key for key in self.keys if key.pin in served]
        return tuple(sorted(keys, key=lambda key: key.role != "primary"))

    def published_pins(self) -> tuple[str, ...]:
        """Return the pins of the header, in their order.

        :raises BadPolicy: if no unserved key of a type in service could be listed (G4)
        """
        served = self.in_service()
        staged = [key for key in self._staged() if key not in served]
        for key_type in {key.kind.key_type for key in served}:
            if not any(key.kind.key_type == key_type for key in staged):
                raise BadPolicy(
                    f"The keyring {self.name} has no {key_type} backup that is not in service.",
                    "Pins without a backup must not be published (RFC 7469 §4.3).",
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
        """Return the keyring with *keys* added at the end."""
        return replace(self, keys=(*self.keys, *keys))

    def served_since(self, times: Mapping[str, datetime], now: datetime) -> Keyring:
        """Return the keyring with the first service of keys, if it was unknown. Note the last service of keys
        that no lineage serves any more."""
        served = self.served_pins

        def noted(key: Key) -> Key:
            first = key.first_served or times.get(key.pin)
            left = first is not None and key.pin not in served
            last = (key.last_served or max(now, first)) if first and left else None
            return replace(key, first_served=first, last_served=last)

        return self.mapped(noted)

    def served_by(self, now: datetime) -> Keyring:
        """Return the keyring with nothing made or served later than *now*."""
        return self.mapped(
            lambda key: replace(
                key,
                created=min(key.created, now),
                first_served=min(key.first_served, now) if key.first_served else None,
                last_served=min(key.last_served, now) if key.last_served else None,
            )
        )

    def loaded(self, lineage: str, fingerprint: str) -> Keyring:
        """Return the keyring with the certificate noted that Apache has loaded for *lineage*."""
        members = (
            replace(m, loaded=fingerprint) if m.lineage == lineage else m for m in self.members
        )
        return replace(self, members=tuple(members))

    # What is to become of a key

    def mark_for_retirement(self) -> Keyring:
        """Return the keyring with the admin's request to retire the primaries of the types in service; an
        earlier reason stays."""
        asked = [key for one in self.served_types() if (key := self.primary(one))]
        return self.changed(
            lambda key: key in asked and not key.retire_reason, retire_reason="asked"
        )

    def without_requests(self) -> Keyring:
        """Return the keyring without what the admin asked for or forced; what is revoked stays so."""
        return self.changed(
            lambda key: key.role == "primary" and key.retire_reason == "asked", retire_reason=""
        ).changed(lambda key: key.forced, forced=False)

    def with_revoked(self, pin: str) -> Keyring:
        """Return the keyring with the certificate of this key revoked: it is left as soon as that is
        safe."""
        return self.changed(lambda key: key.pin == pin, retire_reason="revoked")

    def with_compromised(self, pin: str) -> Keyring:
        """Return the keyring with this key compromised: it is never handed over again."""
        return self.changed(
            lambda key: key.pin == pin, role="compromised", retire_reason="", forced=False
        )

    def with_forced(self, pin: str) -> Keyring:
        """Return the keyring with this backup chosen, before all others of its type."""
        chosen = self.key(pin)
        if chosen is None or chosen.role != "backup":
            return self
        others = self.without([pin]).changed(
            lambda key: key.kind.key_type == chosen.kind.key_type, forced=False
        )
        return replace(self, keys=(replace(chosen, forced=True), *others.keys))

    def lost(self) -> tuple[Key, ...]:
        """Return the backups whose files cannot be used."""
        return tuple(key for key in self.keys if key.is_lost)

    def with_file(self, pin: str, path: str) -> Keyring:
        """Return the keyring with the file of a key in another place, or with one that was offline."""
        return self.changed(lambda key: key.pin == pin, path=path, encrypted="", fault="")

    def without_offline(self) -> Keyring:
        """Return the keyring without the backups whose private keys are offline."""
        return self.without(key.pin for key in self.keys if key.offline)

    def with_primary(self, key: Key) -> Keyring:
        """Return the keyring with a key that pinkeep did not choose as the primary, unless the key is
        compromised."""
        known = self.key(key.pin)
        if known is not None and known.role == "compromised":
            return self
        old = self.primary(key.kind.key_type)
        left = self.changed(lambda one: one is old, role="retired", retire_reason="asked")
        return replace(self, keys=(key, *left.without([key.pin]).keys))

    def spare(self) -> tuple[Key, ...]:
        """Return the retired keys that can be staged again: never served, and not left for a reason."""
        return tuple(
            key
            for key in self.keys
            if key.role == "retired"
            and key.first_served is None
            and key.retire_reason in ("", "lost")
            and key.path
        )

    def without(self, pins: Iterable[str]) -> Keyring:
        """Return the keyring without these keys."""
        dropped = set(pins)
        return replace(self, keys=tuple(key for key in self.keys if key.pin not in dropped))

    def is_in_advance(self, key_type: KeyType) -> bool:
        """Return whether the keys of this type are staged for certificates to come: as far as is known,
        none was served yet."""
        if any(key.kind.key_type == key_type for key in self.in_service()):
            return False
        primary = self.primary(key_type)
        keys = [primary] if primary else [k for k in self.keys if k.kind.key_type == key_type]
        return not any(key.first_served for key in keys)

    def without_type(self, key_type: KeyType) -> Keyring:
        """Return the keyring with the keys of a type retired."""
        left = self._staged()
        return self.changed(
            lambda key: key in left and key.kind.key_type == key_type, role="retired", forced=False
        )

    def changed(self, which: Callable[[Key], bool], **values: Any) -> Keyring:
        """Return the keyring with these values in some of its keys."""
        return self.mapped(lambda key: replace(key, **values) if which(key) else key)

    def mapped(self, change: Callable[[Key], Key]) -> Keyring:
        """Return the keyring with a change of each key."""
        return replace(self, keys=tuple(change(key) for key in self.keys))
