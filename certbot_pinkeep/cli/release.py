"""``certbot-pinkeep release``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from certbot_pinkeep.adapters import clock
from certbot_pinkeep.cli import context
from certbot_pinkeep.cli.parser import Commands, add_command, add_name
from certbot_pinkeep.core import explain, text, times
from certbot_pinkeep.core.errors import BadRelease
from certbot_pinkeep.core.holdings import Release
from certbot_pinkeep.reports import status
from certbot_pinkeep.workflow import releases
from certbot_pinkeep.workflow.releases import ReleaseRequest
from certbot_pinkeep.workflow.workspace import Workspace

_HELP = "record apps and zones that carry pins, so that no rollover locks them out"
_EXAMPLE = """\
  certbot-pinkeep export example.com --format ios -o Pins.plist
  certbot-pinkeep release example.com add --channel ios --label 3.2 --until 2027-11-24
  certbot-pinkeep release example.com list
  certbot-pinkeep release example.com extend --channel ios --label 3.2 --until 2028-06-30
  certbot-pinkeep release example.com end --channel ios --label 3.2
"""
_ADD = "record an app version or a zone that carries pins"
_ADD_EXAMPLE = """\
  certbot-pinkeep release example.com add --channel ios --label 3.2 --until 2027-11-24
  certbot-pinkeep release example.com add --channel dns --label tlsa --until 2027-11-24 --ttl 3600
  certbot-pinkeep release example.com add --channel ios --label 3.1 --until 2027-06-30 --pin PIN --pin PIN
"""
_EXTEND = "record that a release is used for longer, with the pins that it has"
_EXTEND_EXAMPLE = """\
  certbot-pinkeep release example.com extend --channel ios --label 3.2 --until 2028-06-30
"""
_LIST = "show the releases on record, and until when each binds"
_LIST_EXAMPLE = "  certbot-pinkeep release example.com list\n"
_END = "record that nobody uses a release any more"
_END_EXAMPLE = "  certbot-pinkeep release example.com end --channel ios --label 3.2\n"


def add(commands: Commands) -> None:
    command = add_command(commands, "release", _HELP, _EXAMPLE)
    add_name(command)
    verbs = command.add_subparsers(required=True, metavar="add|extend|list|end")
    add_command(verbs, "list", _LIST, _LIST_EXAMPLE, run=_list)
    new = add_command(verbs, "add", _ADD, _ADD_EXAMPLE, run=_add, writes=True)
    longer = add_command(verbs, "extend", _EXTEND, _EXTEND_EXAMPLE, run=_extend, writes=True)
    over = add_command(verbs, "end", _END, _END_EXAMPLE, run=_end, writes=True)
    for verb in (new, longer, over):
        verb.add_argument(
            "--channel",
            metavar="C",
            required=True,
            help="what carries the pins, e.g. ios, android, dns",
        )
        verb.add_argument("--label", metavar="L", required=True, help="which one, e.g. 3.2")
    for verb in (new, longer):
        verb.add_argument(
            "--until",
            metavar="DATE",
            required=True,
            help="the last day on which anybody uses the release, e.g. 2027-11-24",
        )
        verb.add_argument(
            "--ttl",
            metavar="SECONDS",
            help="how long the pins are held after that day: for a zone, the TTL of its records",
        )
    longer.set_defaults(pin=[])
    new.add_argument(
        "--pin",
        metavar="PIN",
        action="append",
        default=[],
        help="a pin that the release carries, if it is out already; repeat it for each pin "
        "(default: the pins of today)",
    )


def _add(parsed: argparse.Namespace) -> int:
    return _record(parsed, lambda *given: [releases.add(*given)])


def _extend(parsed: argparse.Namespace) -> int:
    return _record(parsed, releases.extend)


def _record(
    parsed: argparse.Namespace,
    record: Callable[[Workspace, ReleaseRequest, datetime], Iterable[Release]],
) -> int:
    """Record a release, and tell what is on record of it."""
    now = clock.now()
    until, ttl = releases.until(parsed.until, now), _seconds(parsed.ttl)
    with context.at_work(parsed) as (workspace, name):
        request = ReleaseRequest(name, parsed.channel, parsed.label, until, ttl, tuple(parsed.pin))
        for release in record(workspace, request, now):
            refused = releases.refused(workspace, name, release)
            told = text.escaped(explain.recorded(name, release, refused, now))
            print("\n".join([told, "See that it carries these:", *_listed(release)]))
    return 0


def _listed(release: Release) -> list[str]:
    return [f"  {pin}" for pin in release.pins]


def _seconds(written: str | None) -> timedelta | None:
    if written is None:
        return None
    if not (written.isascii() and written.isdigit() and len(written) < 9):
        raise BadRelease(f"--ttl {written!r}: give a count of seconds, e.g. 3600.")
    return timedelta(seconds=int(written))


def _list(parsed: argparse.Namespace) -> int:
    _, state = context.look_up(parsed)
    told = status.release_lines(state, clock.now())
    for line, release in zip(told, state.ledger.releases, strict=True):
        print("\n".join([text.escaped(line), *_listed(release)]))
    if not told:
        print(f"The keyring {state.keyring.name} has no release on record.")
    return 0


def _end(parsed: argparse.Namespace) -> int:
    now = clock.now()
    with context.at_work(parsed) as (workspace, name):
        request = ReleaseRequest(name, parsed.channel, parsed.label)
        ended = releases.end(workspace, request, now)
    bound = max(release.binds_until(now) for release in ended)
    still = f" Clients hold it until {times.text(bound)}." if bound > now else ""
    print(f"{parsed.channel} {parsed.label} carries pins of {name} no more.{still}")
    return 0
