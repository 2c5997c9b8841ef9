"""What is wrong with a keyring and its site: the rules of ``certbot-pinkeep check``. Pure.

``hosts`` has the rules for what visitors see, ``machine`` those for what is on this machine;
``seen`` is what they judge, ``findings`` what comes of it.
"""

from __future__ import annotations

from datetime import datetime

from certbot_pinkeep.check import local_rules, site_rules
from certbot_pinkeep.check.findings import Finding
from certbot_pinkeep.core.observations import Seen


def check(seen: Seen, now: datetime) -> list[Finding]:
    """All that is wrong with one keyring and its site at *now*."""
    return [*site_rules.check(seen, now), *local_rules.check(seen, now)]
