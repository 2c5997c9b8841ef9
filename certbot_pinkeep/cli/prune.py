"""``certbot-pinkeep prune``."""

from __future__ import annotations

import argparse

from certbot_pinkeep.adapters import clock
from certbot_pinkeep.cli import context
from certbot_pinkeep.cli.parser import Commands, add_command, add_name
from certbot_pinkeep.core import text
from certbot_pinkeep.core.keyring import Key
from certbot_pinkeep.workflow import prune
from certbot_pinkeep.workflow.prune import Pruned

_HELP = "delete the files of retired keys that nobody needs any more"
_EXAMPLE = """\
  certbot-pinkeep prune example.com --dry-run
  certbot-pinkeep prune example.com
"""


def add(commands: Commands) -> None:
    command = add_command(commands, "prune", _HELP, _EXAMPLE, run=_prune, writes=True)
    add_name(command)
    command.add_argument(
        "--dry-run", action="store_true", help="say what would be deleted, and delete nothing"
    )


def _prune(parsed: argparse.Namespace) -> int:
    with context.at_work(parsed) as (workspace, name):
        found = prune.prune(workspace, name, clock.now(), dry_run=parsed.dry_run)
    print(text.escaped("\n".join(_told(name, found, dry_run=parsed.dry_run))))
    return 0


def _told(name: str, found: Pruned, *, dry_run: bool) -> list[str]:
    lines = []
    for key, files in found.gone:
        done = "would delete" if dry_run else "deleted"
        lines += [f"{done} {path} ({_what(key)})" for path in files.keys]
        lines += [f"{done} {path} (its CSR)" for path in files.csrs]
    lines += [f"kept the {_what(key)}: {why}" for key, why in found.kept]
    done = "can go" if dry_run else "are gone"
    lines.append(
        f"Retired keys of the keyring {name}: {len(found.gone)} {done}, {len(found.kept)} stay."
    )
    return lines


def _what(key: Key) -> str:
    return f"{key.kind} key with the pin {key.pin}"
