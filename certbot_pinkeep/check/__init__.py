"""Find what is wrong with a keyring and its site: the rules of ``certbot-pinkeep check``. Pure.

``site_rules`` and ``header_rules`` have the rules for what visitors see. ``server_rules`` has those for the
server's configuration, and ``local_rules`` those for the files of this machine. ``core.observations`` has
what they judge, and ``findings`` what comes of it.
"""

from __future__ import annotations

from datetime import datetime

from certbot_pinkeep.check import local_rules, server_rules, site_rules
from certbot_pinkeep.check.findings import Finding
from certbot_pinkeep.core.observations import Seen


def check(seen: Seen, now: datetime) -> list[Finding]:
    """Find all that is wrong with one keyring and its site at *now*."""
    rules = (site_rules, server_rules, local_rules)
    return [found for one in rules for found in one.check(seen, now)]
