"""``certbot-pinkeep confirm`` and ``unpin``."""

from __future__ import annotations

import argparse
from typing import Any

from certbot_pinkeep.adapters import clock, renewal_conf
from certbot_pinkeep.cli import context
from certbot_pinkeep.core import explain
from certbot_pinkeep.core.errors import PinkeepError
from certbot_pinkeep.workflow import requests
from certbot_pinkeep.workflow.publish import Publisher

_CONFIRM = "record that you reloaded the server yourself: what was pending is served"
_CONFIRM_EXAMPLE = """\
  systemctl reload apache2 && certbot-pinkeep confirm example.com
"""
_UNPIN = (
    "leave pinning without locking anyone out: max-age=0 until nobody holds pins, then no header"
)
_UNPIN_EXAMPLE = """\
  certbot-pinkeep unpin example.com
  certbot-pinkeep unpin example.com --undo
"""


def add(commands: context.Commands) -> None:
    """Add their parsers."""
    command = context.add_command(commands, "confirm", _CONFIRM, _CONFIRM_EXAMPLE)
    context.add_name(command)
    command.add_argument(
        "--clock",
        action="store_true",
        help="instead, record that the clock is right now, though later times are on record",
    )
    command.set_defaults(run=_confirm)

    command = context.add_command(commands, "unpin", _UNPIN, _UNPIN_EXAMPLE)
    context.add_name(command)
    command.add_argument("--undo", action="store_true", help="stay pinned after all")
    command.set_defaults(run=_unpin)


def _confirm(parsed: argparse.Namespace) -> int:
    config = context.certbots_config(parsed)
    workspace, name = context.workspace_of(config), context.name_of(parsed)
    if parsed.clock:
        with context.holding_certbot(config):
            told = requests.confirm_clock(workspace, name, clock.now())
    else:
        # Without certbot's lock: hooks of certbot that reload Apache confirm. It promises no rollover.
        told = requests.confirm(workspace, name, clock.now())
    print(told)
    return 0


def _unpin(parsed: argparse.Namespace) -> int:
    config = context.certbots_config(parsed)
    with context.holding_certbot(config):
        return _unpinned(config, parsed)


def _unpinned(config: Any, parsed: argparse.Namespace) -> int:
    workspace, name = context.workspace_of(config), context.name_of(parsed)
    for one in requests.unpin(workspace, name, clock.now(), undo=parsed.undo):
        renewal = renewal_conf.load(config.config_dir, one)
        if renewal is not None:
            context.enrol(config, workspace, renewal)
    step = workspace.step(context.load_one(workspace, name).keyring)
    try:
        context.print_step(Publisher(workspace).publish(name, clock.now()))
    except PinkeepError as error:
        raise PinkeepError(
            f"That is on record, but not published yet: {error} It is published by: {step}"
        ) from error
    state = context.load_one(workspace, name)
    print(explain.unpinning(name, state.unpin, state.ledger, clock.now(), step))
    return 0
