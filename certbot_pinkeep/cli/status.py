"""``certbot-pinkeep status``."""

from __future__ import annotations

import argparse
import json

from certbot_pinkeep.adapters import clock
from certbot_pinkeep.carriers import snippets
from certbot_pinkeep.cli import context, output
from certbot_pinkeep.cli.parser import Commands, add_command, add_name
from certbot_pinkeep.core import text
from certbot_pinkeep.core.state import State
from certbot_pinkeep.reports import status
from certbot_pinkeep.storage.keys_and_csrs import Folders
from certbot_pinkeep.workflow.workspace import Workspace

_HELP = "show which key is served, which is next, and from when a rollover is due and safe"
_EXAMPLE = """\
  certbot-pinkeep status
  certbot-pinkeep status example.com --json
"""


def add(commands: Commands) -> None:
    command = add_command(commands, "status", _HELP, _EXAMPLE, run=_status)
    add_name(command, every=True)
    command.add_argument(
        "--json", action="store_true", help="print JSON, for scripts and monitoring"
    )


def _status(parsed: argparse.Namespace) -> int:
    config = context.certbots_config(parsed)
    workspace = context.workspace_of(config)
    store = workspace.store
    names = [parsed.name] if parsed.name else store.names()
    states, damaged = context.load(workspace, names)
    now = clock.now()
    if parsed.json:
        index: dict[str, list[str]] = {}
        for request, csr in Folders(config.config_dir).saved_csrs().items():
            index.setdefault(request.pin, []).append(csr.path or "")
        document = status.as_data(states, index, now, config.config_dir)
        # Of many, nobody reads it, and indenting takes time.
        print(json.dumps(document, indent=2 if len(states) <= status.MANY else None))
    elif states:
        steps, apart = _steps(workspace, states), _apart(workspace, states)
        print(
            text.escaped(status.as_text(states, now, steps, apart, _hindrances(workspace, states)))
        )
    elif not damaged:
        print(
            "No keyring yet: nothing is pinned. 'certbot certificates' lists the names.\n"
            "Run: certbot-pinkeep pin NAME"
        )
    for error in damaged:
        output.fail(str(error))
    return 1 if damaged else 0


def _steps(workspace: Workspace, states: list[State]) -> dict[str, str]:
    """Find the commands that bring keyrings without certificates up to date."""
    if len(states) > status.MANY:
        return {}  # a line each, which does not say
    rings = [state.keyring for state in states]
    return {ring.name: workspace.step(ring) for ring in rings if not workspace.hosts(ring)}


def _apart(workspace: Workspace, states: list[State]) -> dict[str, dict[str, str]]:
    """Find the lineages that ``certbot renew`` does not roll over, by their keyrings."""
    if len(states) > status.MANY:
        return {}
    rings = [state.keyring for state in states]
    return {ring.name: workspace.apart(ring) for ring in rings}


def _hindrances(workspace: Workspace, states: list[State]) -> dict[str, str]:
    """Find why ``certbot renew`` does not have the server send what is pending, by keyring."""
    if len(states) > status.MANY:
        return {}
    waiting = [state for state in states if state.ledger.pending]
    return {state.keyring.name: snippets.hindrance(workspace.store, state) for state in waiting}
