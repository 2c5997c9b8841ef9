"""What the hosts of a keyring send after the keyring was published, seen over TLS.

The rules:

* A host sends the pins if it was seen sending them. A server that was just reloaded needs some time.
* If a host does not send the pins, or was not seen, the command that helps is named.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from shlex import quote
from typing import Any

from certbot_pinkeep.adapters import clock, probe
from certbot_pinkeep.carriers import layout, servers, snippets
from certbot_pinkeep.carriers.servers import KINDS
from certbot_pinkeep.check import server_rules
from certbot_pinkeep.check.local_files import LocalFiles
from certbot_pinkeep.cli import context
from certbot_pinkeep.core import earlier_headers, explain_hosts, text
from certbot_pinkeep.core.errors import BadHeader, BadPolicy, PinkeepError
from certbot_pinkeep.core.header import read_header
from certbot_pinkeep.core.observations import TlsObservation
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.core.state import State
from certbot_pinkeep.workflow.publish import Report
from certbot_pinkeep.workflow.workspace import Workspace

logger = logging.getLogger(__name__)

#: How often a server is looked at that was just reloaded, and the seconds in between.
_LOOKS, _PAUSE = 10, 0.3


def told(
    config: Any, workspace: Workspace, report: Report, connect: tuple[str, int] | None
) -> list[str]:
    """Tell which hosts of a keyring send what was published, as sentences."""
    state = context.load_one(workspace, report.keyring)
    current = state.ledger.current
    if current is None or not report.snippet or report.unpinned:
        return []
    title, policy = report.server.title, current.policy
    if report.stopped:
        told = f"{title} does not run. {title} sends the pins when you start it."
        return [told, *_beside(report)]
    if report.pending:
        confirm = text.command(f"certbot-pinkeep confirm {report.keyring}")
        reload = text.joined(f"Reload {title} yourself, and record that.", confirm)
        return [snippets.hindrance(workspace.store, state) or reload, *_no_server(state)]
    names = [name for one in report.enrolled for name in one.live.names]
    hosts = earlier_headers.hosts_to_see(dict.fromkeys(names))
    shown = _looked_at(hosts, policy, connect, again=report.reloaded)
    without = {one.host for one in shown if not _sends(one, policy)}
    seen = {one.host for one in shown if _answers(one)}
    sending = [host for host in hosts if host in seen - without]
    silent = [host for host in hosts if host in seen & without]
    unseen = [host for host in hosts if host not in seen]
    until = clock.now() + timedelta(seconds=policy.max_age)
    said = []
    if sending:
        said.append(explain_hosts.served(sending, None if policy.report_only else until))
    if silent or unseen:
        causes = not_sending(config.config_dir, workspace, state, shown)
        ready = layout.is_set_up(KINDS[report.server.kind], config.config_dir)
        said += causes or [explain_hosts.not_served(title, silent, unseen, ready=ready)]
        said += [] if causes else _beside(report)
    return said


def _no_server(state: State) -> list[str]:
    """Tell a mail server's admin, say, what to choose: no server of this machine sends pins."""
    if any(map(layout.is_here, KINDS.values())):
        return []
    pin = text.command(f"certbot-pinkeep pin {quote(state.keyring.example)} --header none")
    told = (
        "There is no Apache and no nginx on this machine. If no server sends the pins, choose that."
    )
    return [text.joined(told, pin)]


def _beside(report: Report) -> list[str]:
    """Tell of another server that runs here, and may be the one that serves the hosts."""
    if not report.server.default:
        return []  # by the commands that they gave, admins know their server
    lineages = [one.live.name for one in report.enrolled]
    return [
        explain_hosts.beside(kind.title, kind.name, lineages)
        for kind in servers.running_beside(report.server.kind)
    ]


def not_sending(
    config_dir: str, workspace: Workspace, state: State, shown: Sequence[TlsObservation] = ()
) -> list[str]:
    """Tell why hosts of a keyring do not send its pins, by the server's configuration, and what to do.

    :param shown: what its hosts showed; a host that was seen sending pins has nothing to mend
    """
    files = LocalFiles(config_dir, workspace.store)
    with suppress(PinkeepError, OSError):  # check tells
        causes = server_rules.causes(files.look(state, clock.now(), shown, ()))
        return [text.joined(cause.what, cause.todo) for cause in causes]
    return []


def _looked_at(
    hosts: Sequence[str], policy: Policy, connect: tuple[str, int] | None, *, again: bool
) -> list[TlsObservation]:
    """Look at hosts.

    :param again: whether a host that does not send the pins yet may send them soon
    """
    shown: list[TlsObservation] = []
    try:
        shown = probe.glance(hosts, connect)
        for _ in range(_LOOKS if again else 0):
            if all(_sends(one, policy) for one in shown if _answers(one)):
                break
            clock.pause(_PAUSE)
            shown = probe.glance(hosts, connect)
    except (OSError, ValueError, RuntimeError) as error:  # what is done is done, seen or not
        logger.debug("The hosts could not be looked at: %s", error)
    return shown


def _answers(shown: TlsObservation) -> bool:
    return not shown.stopped and shown.certificate is not None


def _sends(shown: TlsObservation, policy: Policy) -> bool:
    for name, value in shown.headers:
        if name.lower() == policy.header_name.lower():
            with suppress(BadHeader, BadPolicy):
                found = read_header(value)
                return (found.pins, found.max_age) == (policy.pins, policy.max_age)
    return False
