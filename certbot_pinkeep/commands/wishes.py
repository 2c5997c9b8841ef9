"""``certbot-pinkeep confirm`` and ``unpin``."""

from __future__ import annotations

import argparse
from typing import Any

from certbot_pinkeep import advice, moments, renewals, wishes
from certbot_pinkeep.commands import common
from certbot_pinkeep.errors import PinkeepError

_CONFIRM = "you reloaded Apache yourself: what was pending is served"
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


def add(commands: common.Commands) -> None:
    """Add their parsers."""
    command = common.add_command(commands, "confirm", _CONFIRM, _CONFIRM_EXAMPLE)
    common.add_name(command)
    command.add_argument(
        "--clock",
        action="store_true",
        help="instead: the clock is right now, though later moments are on record",
    )
    command.set_defaults(run=_confirm)

    command = common.add_command(commands, "unpin", _UNPIN, _UNPIN_EXAMPLE)
    common.add_name(command)
    command.add_argument("--undo", action="store_true", help="stay pinned after all")
    command.set_defaults(run=_unpin)


def _confirm(parsed: argparse.Namespace) -> int:
    config = common.certbots_config(parsed)
    keeper, name = common.keeper_of(config), common.name_of(parsed)
    if parsed.clock:
        with common.holding_certbot(config):
            told = wishes.confirm_clock(keeper, name, moments.now())
    else:
        # Without certbot's lock: hooks of certbot that reload Apache confirm. It promises no rollover.
        told = wishes.confirm(keeper, name, moments.now())
    print(told)
    return 0


def _unpin(parsed: argparse.Namespace) -> int:
    config = common.certbots_config(parsed)
    with common.holding_certbot(config):
        return _unpinned(config, parsed)


def _unpinned(config: Any, parsed: argparse.Namespace) -> int:
    keeper, name = common.keeper_of(config), common.name_of(parsed)
    for one in wishes.unpin(keeper, name, moments.now(), parsed.undo):
        renewal = renewals.load(config.config_dir, one)
        if renewal is not None:
            common.take_in(config, keeper, renewal)
    step = keeper.step(common.load_one(keeper, name).keyring)
    try:
        common.print_step(keeper.publish(name, moments.now()))
    except PinkeepError as error:
        raise PinkeepError(
            f"That is on record, but not published yet: {error} It is published by: {step}"
        ) from error
    state = common.load_one(keeper, name)
    print(advice.unpinning(name, state.unpin, state.ledger, moments.now(), step))
    return 0
