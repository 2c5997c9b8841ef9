"""Hold what is exported, as values. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from certbot_pinkeep.core.keyring import Role
from certbot_pinkeep.core.kinds import KeyKind, KeyType
from certbot_pinkeep.core.policy import Policy


@dataclass(frozen=True)
class Pin:
    """Hold a pin that is published.

    :ivar pin: base64 of SHA-256 (RFC 7469 §2.4)
    :ivar kind: the kind of its key
    :ivar role: the role of its key; ``in-service`` also for a primary that is served
    """

    pin: str
    kind: KeyKind
    role: Role

    @property
    def key_type(self) -> KeyType:
        """Return ``rsa`` or ``ecdsa``."""
        return self.kind.key_type


@dataclass(frozen=True)
class Pinned:
    """Hold what a keyring publishes.

    :ivar name: the keyring's name
    :ivar hosts: the names that are pinned, in lower case; a name may begin with ``*.``
    :ivar policy: the policy that is published; its pins are in the order of the header
    :ivar pins: the same pins, with the kinds and roles of their keys
    :ivar now: the time of the export
    :ivar still_served: the pins of keys that Apache may serve, and that are not among these pins: Apache has
        perhaps not loaded what is published, or a certificate was renewed without pinkeep
    :ivar leaving: whether the keyring leaves pinning
    """

    name: str
    hosts: tuple[str, ...]
    policy: Policy
    pins: tuple[Pin, ...]
    now: datetime
    still_served: tuple[str, ...] = ()
    leaving: bool = False


@dataclass(frozen=True)
class Settings:
    """Hold the settings that a format may take.

    :ivar ports: for DNS: ``PORT/tcp`` or ``PORT/udp``
    :ivar expires: the day from which an app stops pinning; ``None``: never
    """

    ports: tuple[str, ...] = ("443/tcp",)
    expires: date | None = None
