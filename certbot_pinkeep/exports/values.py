"""What is exported, as values. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from certbot_pinkeep.core.keyring import Role
from certbot_pinkeep.core.kinds import KeyKind, KeyType
from certbot_pinkeep.core.policy import Policy


@dataclass(frozen=True)
class Pin:
    """A pin that is published.

    :ivar pin: base64 of SHA-256 (RFC 7469 §2.4)
    :ivar kind: of its key
    :ivar role: of its key; ``in-service`` also for a primary that is served
    """

    pin: str
    kind: KeyKind
    role: Role

    @property
    def key_type(self) -> KeyType:
        """``rsa`` or ``ecdsa``."""
        return self.kind.key_type


@dataclass(frozen=True)
class Pinned:
    """What a keyring publishes.

    :ivar name: the keyring's
    :ivar hosts: the names that are pinned, in lower case; one may begin with ``*.``
    :ivar policy: as it is served; its pins are in the order in which they are published
    :ivar pins: the same pins, with what is known of their keys
    :ivar now: when that was so
    :ivar still_served: the pins of keys that Apache may serve though they are not among these pins: it is
        not known to have loaded what is published, or a key came past the keyring
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
    """What a form may be told beside.

    :ivar ports: for DNS: ``PORT/tcp`` or ``PORT/udp``
    :ivar expires: the day from which an app is to stop pinning; ``None``: never
    """

    ports: tuple[str, ...] = ("443/tcp",)
    expires: date | None = None
