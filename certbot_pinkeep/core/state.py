"""All that is remembered of a keyring, as one value. Pure; ``store`` keeps it in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from certbot_pinkeep.core import options
from certbot_pinkeep.core.keyring import Keyring
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.options import Options
from certbot_pinkeep.core.zone import Service


@dataclass(frozen=True)
class State:
    """All that is remembered of a keyring.

    :ivar snippet: the file that its policy is published in; empty before the first time
    :ivar tested: SHA-256 (hex) of the snippet's text that passed Apache's test last
    :ivar unpin: whether the admin leaves pinning: ``max-age=0`` is served until nothing binds
    :ivar saved: how often it was saved
    :ivar settings: the options that count for the whole keyring, as they were given, by their names
        without ``--pinkeep-``
    :ivar services: what the ports serve whose keys are pinned in the zone
    """

    keyring: Keyring
    ledger: Ledger
    snippet: str = ""
    tested: str = ""
    unpin: bool = False
    saved: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)
    services: tuple[Service, ...] = ()

    @property
    def is_without_header(self) -> bool:
        """Whether the keyring is for apps and zones only: no server sends its header, or has to stop."""
        return self.settings.get("header") == options.NO_HEADER and not self.snippet

    def with_revoked(self, pin: str, *, compromised: bool) -> State:
        """Return the state with a certificate of this key revoked."""
        keyring = self.keyring
        changed = keyring.with_compromised(pin) if compromised else keyring.with_revoked(pin)
        return replace(self, keyring=changed)

    def unpinned(self, now: datetime) -> bool:
        """Return whether pinning has been left for good: nothing binds any more."""
        return self.unpin and self.ledger.binds_nobody(now)

    def chosen(self) -> Options:
        """Check the options that count for the keyring.

        :raises BadOption: for one that cannot be used
        """
        name = self.keyring.name
        return options.parse({**self.settings, "keyring": name}, name)

    def with_imported(self, other: State) -> State:
        """Add what another keyring has published at the hosts of lineages that move from there to here.

        The server may still send that at their hosts.
        """
        name, ledger = self.keyring.name, self.ledger
        for member in other.keyring.members:
            # If a run was killed, the other keyring does not know of the move, and both have the lineage.
            here = self.keyring.member(member.lineage)
            both = member.enrolled and not member.transferred and bool(here and here.enrolled)
            if both or member.transferred == name:
                ledger = ledger.with_imported(other.ledger, member.hosts)
        return replace(self, ledger=ledger) if ledger != self.ledger else self
