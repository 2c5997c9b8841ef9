"""``certbot-pinkeep unpin``."""

from __future__ import annotations

import argparse

from certbot_pinkeep.adapters import clock, renewal_conf
from certbot_pinkeep.cli import context, dns, output
from certbot_pinkeep.cli.parser import Commands, add_command, add_name
from certbot_pinkeep.core import explain, options
from certbot_pinkeep.core.errors import PinkeepError
from certbot_pinkeep.workflow import requests
from certbot_pinkeep.workflow.publish import Publisher

_HELP = (
    "leave pinning without locking anyone out: max-age=0 until nobody holds pins, then no header"
)
_EXAMPLE = """\
  certbot-pinkeep unpin example.com
  certbot-pinkeep unpin example.com --undo
"""


def add(commands: Commands) -> None:
    command = add_command(commands, "unpin", _HELP, _EXAMPLE, run=_unpin, writes=True)
    add_name(command)
    command.add_argument("--undo", action="store_true", help="stay pinned after all")


def _unpin(parsed: argparse.Namespace) -> int:
    config = context.certbots_config(parsed)
    workspace, name = context.workspace_of(config), context.checked(parsed.name)
    with context.holding_certbot(config.config_dir):
        for one in requests.unpin(workspace, name, clock.now(), undo=parsed.undo):
            renewal = renewal_conf.load(config.config_dir, one)
            if renewal is not None:
                context.enrol(workspace, renewal, options.given(config))
        step = workspace.step(context.load_one(workspace, name).keyring)
        try:
            output.print_step(Publisher(workspace).publish(name, clock.now()))
        except PinkeepError as error:
            raise PinkeepError(
                f"That is on record, but not published yet: {error.what}",
                error.why,
                run=error.run or step,
            ) from error
        zone_error = dns.tell_step(workspace, name)
        print(explain.unpinning(context.load_one(workspace, name), clock.now(), step))
    if zone_error is not None:
        raise zone_error
    return 0
