"""``certbot-pinkeep setup``: prepares a machine once, and takes that back.

The rules:

* A certbot of this machine that does not load the plugin is named, with what runs it.
* The link of the deploy hook leads to the command that runs now.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from typing import Any

from certbot_pinkeep.adapters import clock
from certbot_pinkeep.carriers import layout, servers
from certbot_pinkeep.check.local_files import LocalFiles
from certbot_pinkeep.cli import context, served
from certbot_pinkeep.cli.parser import Commands, add_command
from certbot_pinkeep.core import text
from certbot_pinkeep.workflow import setup

_HELP = "prepare this machine once: its web servers send the pins of all keyrings"
_MORE = (
    "setup makes each web server of this machine include the snippets, and links the deploy hook of certbot. "
    "setup tests each server's configuration, and reloads the servers that run. A second run changes nothing."
)
_EXAMPLE = """\
  certbot-pinkeep setup --dry-run
  certbot-pinkeep setup
  certbot-pinkeep setup --undo
"""
_AGAIN = text.command("certbot-pinkeep setup")


def add(commands: Commands) -> None:
    command = add_command(commands, "setup", _HELP, _EXAMPLE, run=_run, writes=True, more=_MORE)
    command.add_argument(
        "--undo", action="store_true", help="take back exactly what setup has made"
    )
    command.add_argument(
        "--dry-run", action="store_true", help="tell what setup would do, and change nothing"
    )


def _run(parsed: argparse.Namespace) -> int:
    config = context.certbots_config(parsed)
    config_dir = os.path.abspath(config.config_dir)
    told: list[str] = []

    def tell(sentence: str) -> None:
        told.append(sentence)
        print(text.printable(sentence), flush=True)

    if parsed.dry_run:
        print("A dry run tells what setup does, and changes nothing:")
    if parsed.undo:
        setup.take_back(config_dir, tell, dry=parsed.dry_run)
        pinned = _pinned(config) if told else []
        if not told:
            print("There is nothing to take back.")
        if pinned:
            print(f"Clients may still hold pins of: {', '.join(pinned)}. Renewals keep these keys.")
        return 0
    try:
        setup.set_up(config_dir, _command(), tell, dry=parsed.dry_run)
        for sentence in () if parsed.dry_run else _left_to_do(config):
            tell(sentence)
    finally:
        for one in _without_plugin(config):
            print(one)
    return 0


def _left_to_do(config: Any) -> Iterator[str]:
    """Tell why a keyring that is there is not sent by its server yet, and what to do."""
    workspace = context.workspace_of(config)
    for state in workspace.trusted():  # check tells of the others
        for sentence in served.not_sending(config.config_dir, workspace, state):
            if sentence.endswith(_AGAIN):  # all is done, and the server does not read it
                kind = servers.kind_of(state.snippet, None)
                by_hand = layout.by_hand(kind, config.config_dir)
                yield f"{sentence.removesuffix(_AGAIN).strip()} {by_hand}"
            else:
                yield sentence


def _pinned(config: Any) -> list[str]:
    """List the keyrings whose pins clients may hold."""
    workspace, now = context.workspace_of(config), clock.now()
    return [state.keyring.name for state in workspace.trusted() if not state.unpinned(now)]


def _without_plugin(config: Any) -> Iterator[str]:
    """Tell of each certbot of this machine that does not load the plugin."""
    files = LocalFiles(config.config_dir, context.workspace_of(config).store)
    for one in files.certbots(by_hand=True):
        yield text.printable(f"{one.where}: {one.what} {one.todo}")


def _command() -> str:
    """Find the path by which certbot can run this command."""
    given = sys.argv[0]
    found = shutil.which(given) if os.path.basename(given) == "certbot-pinkeep" else None
    return os.path.abspath(found or shutil.which("certbot-pinkeep") or given)
