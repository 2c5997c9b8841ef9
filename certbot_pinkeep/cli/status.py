"""``certbot-pinkeep status``."""

from __future__ import annotations

import argparse
import json
from functools import partial

from certbot_pinkeep.adapters import clock
from certbot_pinkeep.carriers import snippets
from certbot_pinkeep.cli import context, output
from certbot_pinkeep.cli.parser import Commands, add_command, add_name
from certbot_pinkeep.core import text
from certbot_pinkeep.core.state import State
from certbot_pinkeep.reports import status
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
    workspace = context.workspace_of(context.certbots_config(parsed))
    names = [parsed.name] if parsed.name else workspace.store.names()
    states, damaged = context.load(workspace, names)
    now = clock.now()
    if parsed.json:
        index: dict[str, list[str]] = {}
        for request, csr in workspace.folders.saved_csrs().items():
            index.setdefault(request.pin, []).append(csr.path or "")
        document = status.as_data(states, index, now, workspace.config_dir)
        # Of many, nobody reads it, and indenting takes time.
        print(json.dumps(document, indent=2 if len(states) <= status.MANY else None))
    elif states:
        print(text.escaped(status.as_text(states, now, partial(_around, workspace))))
    elif not damaged:
        print(
            "No keyring yet: nothing is pinned. 'certbot certificates' lists the names.\n"
            "Run: certbot-pinkeep pin NAME"
        )
    for error in damaged:
        output.fail(str(error))
    return 1 if damaged else 0


def _around(workspace: Workspace, state: State) -> status.Around:
    """Find what the file of a keyring does not say of it."""
    ring = state.keyring
    return status.Around(
        "" if workspace.hosts(ring) else workspace.step(ring),
        workspace.apart(ring),
        snippets.hindrance(workspace.store, state) if state.ledger.pending else "",
    )
