"""All that is remembered of a keyring, as one value. Pure; ``store`` keeps it in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from certbot_pinkeep.core.keyring import Keyring
from certbot_pinkeep.core.ledger import Ledger


@dataclass(frozen=True)
class State:
    """All that is remembered of a keyring.

    :ivar snippet: the file that its policy is published in; empty before the first time
    :ivar tested: SHA-256 (hex) of the snippet's text that passed Apache's test last
    :ivar unpin: whether the admin leaves pinning: ``max-age=0`` is served until nothing binds
    :ivar saved: how often it was saved
    :ivar settings: the options that count for the whole keyring, as they were given, by their names
        without ``--pinkeep-``
    """

    keyring: Keyring
    ledger: Ledger
    snippet: str = ""
    tested: str = ""
    unpin: bool = False
    saved: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)

    def with_revoked(self, pin: str, compromised: bool) -> State:
        """The state with a certificate of this key revoked."""
        keyring = self.keyring
        changed = keyring.with_compromised(pin) if compromised else keyring.with_revoked(pin)
        return replace(self, keyring=changed)

    def unpinned(self, now: datetime) -> bool:
        """Whether pinning has been left for good: nothing binds any more."""
        return self.unpin and self.ledger.binds_nobody(now)
