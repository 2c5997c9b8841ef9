"""What is wrong with a keyring and its site: the rules of ``certbot-pinkeep check``. Pure.

``hosts`` has the rules for what visitors see, ``machine`` those for what is on this machine;
``seen`` is what they judge, ``findings`` what comes of it.
"""

from __future__ import annotations

from datetime import datetime

from certbot_pinkeep.checks import hosts, machine
from certbot_pinkeep.checks.findings import Finding
from certbot_pinkeep.checks.seen import Seen


def check(seen: Seen, now: datetime) -> list[Finding]:
    """All that is wrong with one keyring and its site at *now*."""
    return [*hosts.check(seen, now), *machine.check(seen, now)]
