"""What is asked for when a certificate is issued, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from certbot_pinkeep.adapters.lineage import Live
from certbot_pinkeep.core.kinds import KeyKind, KeyType
from certbot_pinkeep.core.options import Options


@dataclass(frozen=True)
class IssueRequest:
    """A certificate that certbot is about to ask the CA for.

    :ivar lineage: certbot's name for it
    :ivar keyring: the name of the keyring that it draws on, or is to draw on
    :ivar names: the names of the new certificate, in lower case
    :ivar live: what it replaces; ``None``: it is a new one
    :ivar key_type: of a new one: the type of its key, if the keyring has several
    :ivar kind: of a new one: the kind of key that is asked for expressly
    :ivar must_staple: whether it is to have must-staple (RFC 7633)
    :ivar dry_run: whether nothing may be written
    :ivar asked: whether a rollover is asked for, now or never
    :ivar chosen: what the admin set; ``None``: that cannot be used, what was set before counts
    :ivar refused: the pins of the keys that the CA has refused as compromised in this run
    :ivar csr_rejected: the pins of the backups whose CSRs it has rejected in this run
    """

    lineage: str
    keyring: str
    names: tuple[str, ...]
    now: datetime
    live: Live | None = None
    key_type: KeyType = "ecdsa"
    kind: KeyKind | None = None
    must_staple: bool = False
    dry_run: bool = False
    asked: bool = False
    chosen: Options | None = None
    refused: frozenset[str] = frozenset()
    csr_rejected: frozenset[str] = frozenset()

    @property
    def renewed(self) -> Live:
        """The lineage that is renewed."""
        assert self.live is not None, "a new certificate renews nothing"
        return self.live

    @property
    def all_names(self) -> tuple[str, ...]:
        """The names of the present certificate and of the new one."""
        return tuple(dict.fromkeys((*(self.live.names if self.live else ()), *self.names)))

    @property
    def added(self) -> tuple[str, ...]:
        """The names that the new certificate has more."""
        return tuple(name for name in self.names if name not in self.renewed.requested)
