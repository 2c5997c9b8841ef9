"""includeSubDomains, and the certificates of this machine below the hosts that have it.

The rule:

* includeSubDomains is left out while it would lock out clients of another lineage of this machine.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from certbot_pinkeep.adapters.certificates import LiveCertificate
from certbot_pinkeep.core import hostnames, rollover
from certbot_pinkeep.core.errors import NotCovered
from certbot_pinkeep.core.keyring import Keyring
from certbot_pinkeep.core.options import Options
from certbot_pinkeep.core.state import State
from certbot_pinkeep.workflow.workspace import Workspace


def publishable(
    workspace: Workspace, state: State, chosen: Options, now: datetime
) -> tuple[NotCovered | None, Options]:
    """Return what is wrong with includeSubDomains, and the options as they can be published."""
    if not chosen.include_subdomains or state.unpin:
        return None, chosen
    others = _not_covered(workspace, state.keyring)
    if not others:
        return None, chosen
    current = state.ledger.current
    # If clients refuse them already, leaving it out would not help them.
    stays = (
        current is not None
        and current.policy.include_subdomains
        and all(_is_refused_below(state, one, now) for one in others)
    )
    error = NotCovered(state.keyring.name, [one.lineage for one in others], published=stays)
    return error, chosen if stays else replace(chosen, include_subdomains=False)


def _is_refused_below(state: State, one: LiveCertificate, now: datetime) -> bool:
    holdings = rollover.locked_out(one.pin, state.ledger, now, one.names)
    return any(holding.subdomains for holding in holdings)


def _not_covered(workspace: Workspace, keyring: Keyring) -> list[LiveCertificate]:
    """Return the certificates of this machine below the keyring's hosts whose keys are not pinned. Those of
    another keyring count, too: their next key may not be pinned."""
    published = set(keyring.published_pins())
    members = {member.lineage for member in keyring.drawing}
    found = []
    for one in workspace.certificates.all():
        if one.lineage in members:
            continue
        below = tuple(hostnames.covered(keyring.hosts, one.names, subdomains=True))
        elsewhere = workspace.store.keyring_of
        if below and (one.pin not in published or elsewhere(one.lineage) is not None):
            found.append(replace(one, names=below))
    return found
