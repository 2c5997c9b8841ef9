"""What hosts send already when they are first pinned: where pinkeep looks, and what it records.

The rules:

* What a host sends already when it is first pinned is recorded with it (see ``core.earlier_headers``).
* If a host cannot be seen, its clients may hold pins of any key that is live there. With ``--pinkeep-header
  none`` the admin says that pins are for apps and zones only: then what was not seen was not sent.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from certbot_pinkeep.adapters.lineage import Live
from certbot_pinkeep.core import explain_hosts, options, pins
from certbot_pinkeep.core.state import State
from certbot_pinkeep.workflow.workspace import Names, Workspace

if TYPE_CHECKING:
    from certbot_pinkeep.core.earlier_headers import Found


def look_at(workspace: Workspace, names: Names, above: Names = ()) -> Found | None:
    """Look at the hosts of these names; ``None``: nobody looks. Never raises.

    :param above: hosts above them, of which only what binds below counts
    """
    from certbot_pinkeep.core import earlier_headers

    hosts = earlier_headers.hosts_to_see((*above, *names))
    shown = workspace.look_at(hosts) if hosts else None
    if shown is None:
        return None
    return earlier_headers.found(names, shown, workspace.is_held, above)


def look_before(workspace: Workspace, names: Names, keyring: str, now: datetime) -> Found | None:
    """Look at the hosts of a lineage before it is enrolled, as far as no keyring tells of them."""
    return look_at(workspace, *_unknown_hosts(workspace, names, keyring, now))


def _unknown_hosts(
    workspace: Workspace, names: Names, keyring: str, now: datetime
) -> tuple[Names, Names]:
    """Find which hosts to look at before a certificate joins a keyring.

    :param names: of the certificate
    :returns: the names that no keyring has yet, and those that were seen sending pins
        that no keyring publishes; and the hosts above for which that holds
    """
    known, sending = set[str](), set[str]()
    for state in workspace.trusted((keyring, *workspace.store.near(names))):
        known.update(state.keyring.hosts)
        sending.update(state.ledger.sending(now))
        if known.issuperset(names):
            break  # mostly at once: the others need not be read
    new = tuple(name for name in names if name not in known)
    above = workspace.certificates.above(names) if new or sending else ()
    return (
        tuple(name for name in names if name in new or name in sending),
        tuple(one for one in above if one in sending or (new and one not in known)),
    )


def with_sent(
    workspace: Workspace,
    state: State,
    live: Live,
    sent: Found | None,
    now: datetime,
    *,
    before: State | None,
) -> tuple[State, Names]:
    """Record what the hosts of a lineage send already.

    :param sent: ``None``: nobody looked
    :param before: the state before the lineage was enrolled
    :returns: the state, and what there is to say of it, as sentences
    """
    if sent is None:
        return state, ()
    from certbot_pinkeep.core import earlier_headers

    chain = pins.pins_of_certificates(live.certificates()[1])
    name = state.keyring.name
    known = {*before.keyring.hosts, *before.ledger.sending(now)} if before else set()
    seen = earlier_headers.recorded(
        state, sent, live.kind, saved=workspace.found_key, no_backups=chain, now=now
    )
    told = earlier_headers.told(name, state, seen, sent, now)
    if state.settings.get("header") == options.NO_HEADER:
        known |= {*sent.unseen, *sent.silent}
    unseen = {host: why for host, why in sent.unseen.items() if host not in known}
    silent = tuple(host for host in sent.silent if host not in known)
    keys = (live.pin, *workspace.imported, *_live_keys_at(workspace, silent))
    held = timedelta(seconds=options.DEFAULT_MAX_AGE)
    seen = replace(seen, ledger=earlier_headers.with_unseen(seen.ledger, keys, silent, now, held))
    return seen, (*told, *([explain_hosts.not_seen(name, unseen)] if unseen else []))


def _live_keys_at(workspace: Workspace, hosts: Names) -> list[str]:
    """Return the pins of the keys of all certificates that this machine has live for any of the hosts."""
    if not hosts:
        return []
    workspace.certificates.refresh()
    return [one.pin for one in workspace.certificates.at(hosts)]
