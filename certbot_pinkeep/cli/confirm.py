"""``certbot-pinkeep confirm``."""

from __future__ import annotations

import argparse

from certbot_pinkeep.adapters import clock
from certbot_pinkeep.cli import context
from certbot_pinkeep.cli.parser import Commands, add_command, add_name
from certbot_pinkeep.workflow import requests

_HELP = "record that you reloaded the server yourself: what was pending is served"
_EXAMPLE = """\
  systemctl reload apache2 && certbot-pinkeep confirm example.com
"""


def add(commands: Commands) -> None:
    command = add_command(commands, "confirm", _HELP, _EXAMPLE, run=_confirm, writes=True)
    add_name(command)
    command.add_argument(
        "--clock",
        action="store_true",
        help="instead, record that the clock is right now, though later times are on record",
    )


def _confirm(parsed: argparse.Namespace) -> int:
    if parsed.clock:
        with context.at_work(parsed) as (workspace, name):
            told = requests.confirm_clock(workspace, name, clock.now())
    else:
        # Without certbot's lock: hooks of certbot that reload Apache confirm. No rollover is promised.
        told = requests.confirm(*context.named(parsed), clock.now())
    print(told)
    return 0
