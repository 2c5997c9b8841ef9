"""``certbot-pinkeep export``."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from datetime import date, datetime, timedelta

from certbot_pinkeep import exports
from certbot_pinkeep.adapters import clock
from certbot_pinkeep.cli import context, output
from certbot_pinkeep.cli.parser import Commands, add_command, add_name
from certbot_pinkeep.core import text
from certbot_pinkeep.core.errors import BadExport
from certbot_pinkeep.core.keyring import Key
from certbot_pinkeep.core.state import State
from certbot_pinkeep.exports import hosts
from certbot_pinkeep.exports.values import Pin, Pinned, Settings
from certbot_pinkeep.workflow.workspace import Workspace

_HELP = "write the pins in the form that an app, another server or a zone takes"
_EXAMPLE = """\
  certbot-pinkeep export example.com --format ios -o Pins.plist
  certbot-pinkeep export example.com --format nginx -o /etc/nginx/conf.d/pins-example.com.conf
  certbot-pinkeep export example.com --format tlsa --port 443 --port 25
  curl --pinnedpubkey "$(certbot-pinkeep export example.com --format curl)" https://example.com/
"""
_FORMATS = (
    "header, json, nginx, ios (to be merged into an Info.plist), android "
    "(network_security_config.xml), okhttp, trustkit, curl (--pinnedpubkey), tlsa (DNS records), or one "
    "that another package adds"
)
_DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
#: The formats of a header, which clients hold for its max-age.
_HEADERS = ("header", "nginx")
#: For how many days an app pins that is not updated, if nothing else is said.
_EXPIRES = 365


def add(commands: Commands) -> None:
    command = add_command(commands, "export", _HELP, _EXAMPLE, run=_export, writes=True)
    add_name(command)
    command.add_argument("--format", metavar="FORMAT", required=True, help=_FORMATS)
    command.add_argument(
        "-o", "--output", metavar="FILE", help="the file to write (default, and '-': print it)"
    )
    command.add_argument(
        "--host",
        metavar="HOST",
        action="append",
        help="a host of the keyring, or one that it covers; repeat it for more (default: all hosts)",
    )
    command.add_argument(
        "--port",
        metavar="PORT[/udp]",
        action="append",
        help="for tlsa: a port; repeat it for more (default: 443)",
    )
    command.add_argument(
        "--expires",
        metavar="DATE",
        help="for android and trustkit: the day from which the app stops pinning, or 'never' "
        "(default: a year from now)",
    )


def _export(parsed: argparse.Namespace) -> int:
    now = clock.now()
    settings = _settings(parsed, now)
    workspace, state = context.look_up(parsed)
    if state.is_without_header and parsed.format in _HEADERS:
        raise BadExport(
            f"The keyring {state.keyring.name} has no header to export, because of --pinkeep-header none.",
            "pinkeep does not record until when clients would hold such a header.",
            run=f"certbot-pinkeep pin {shlex.quote(state.keyring.example)} --header apache",
        )
    pinned = _pinned(workspace, state, now)
    pinned = hosts.chosen(pinned, parsed.host or ())
    content = exports.render(parsed.format, pinned, settings).encode()
    if parsed.output is None or output.is_printed(parsed.output):
        # What the consumer is to read is UTF-8, whatever the terminal takes.
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
        return 0
    output.write(parsed.output, content)
    print(
        text.joined(
            f"{parsed.output} has the {len(pinned.pins)} pins of the keyring {pinned.name}. Record each "
            "release that carries them.",
            text.command(f"certbot-pinkeep release {pinned.name} add --help"),
        )
    )
    return 0


def _pinned(workspace: Workspace, state: State, now: datetime) -> Pinned:
    keyring, current = state.keyring, state.ledger.current
    if state.unpinned(now):
        raise BadExport(
            f"The keyring {keyring.name} has left pinning, and publishes no pins.",
            "You can pin its hosts again.",
            run=f"certbot-pinkeep unpin {keyring.name} --undo",
        )
    if current is None:
        raise BadExport(f"The keyring {keyring.name} publishes no pins.", run="certbot renew")
    served = keyring.served_pins
    found = []
    for pin in current.pins:
        key = keyring.key(pin)
        if key is None:
            raise BadExport(
                f"The keyring {keyring.name} publishes a pin whose key it does not have ({pin}).",
                run="certbot renew",
            )
        in_service = pin in served and key.role != "compromised"
        found.append(Pin(pin, key.kind, "in-service" if in_service else key.role))
    live = (pin for pin in workspace.live_pins(keyring).values() if pin not in current.pins)
    left = tuple(dict.fromkeys((*_still_served(state), *live)))
    names = workspace.hosts(keyring)
    return Pinned(keyring.name, names, current.policy, tuple(found), now, left, state.unpin)


def _still_served(state: State) -> tuple[str, ...]:
    """Find the pins of keys that the server may still serve, but not after its next reload."""
    *earlier, current = state.ledger.entries
    listed = [pin for entry in earlier if entry.replaced is None for pin in entry.pins]
    left = dict.fromkeys(pin for pin in listed if pin not in current.pins)
    return tuple(pin for pin in left if _was_in_service(state.keyring.key(pin)))


def _was_in_service(key: Key | None) -> bool:
    """Say whether a key that is pinned no more may have been served; an unknown key may have."""
    if key is None or key.first_served is not None:
        return True
    # From when it was served is not noted until Apache is known to have loaded it.
    return key.role in ("in-service", "compromised") or key.retire_reason in ("asked", "revoked")


def _settings(parsed: argparse.Namespace, now: datetime) -> Settings:
    _check_known(parsed)
    ports = dict.fromkeys(_port(written) for written in parsed.port or ["443"])
    return Settings(tuple(ports), _expires(parsed.expires, now))


def _check_known(parsed: argparse.Namespace) -> None:
    """See that the format has a place for what is given.

    :raises BadExport: when it has none
    """
    given = {"ports": ("--port", parsed.port), "expires": ("--expires", parsed.expires)}
    taken = exports.taken(parsed.format)
    for name, (option, value) in given.items():
        if value is not None and name not in taken:
            first = value if isinstance(value, str) else value[0]
            raise BadExport(
                f"{option} {first!r}: the format {parsed.format} has no place for this option.",
                f"Leave {option} out.",
            )


def _port(written: str) -> str:
    number, _, protocol = written.partition("/")
    known = re.fullmatch("[0-9]{1,5}", number) is not None and 0 < int(number) < 65536
    if not known or (protocol or "tcp") not in ("tcp", "udp", "sctp"):
        given = text.short(written)
        raise BadExport(f"--port {given!r}: write a port as 443, or as 443/udp.")
    return f"{int(number)}/{protocol or 'tcp'}"


def _expires(written: str | None, now: datetime) -> date | None:
    if written is None:
        return now.date() + timedelta(days=_EXPIRES)
    if written == "never":
        return None
    try:
        # Later Pythons read other forms of a date as well.
        day = date.fromisoformat(written if _DAY.fullmatch(written) else "")
    except ValueError:
        raise BadExport(f"--expires {written!r}: write a day as 2027-11-24, or 'never'.") from None
    if day <= now.date():
        raise BadExport(f"--expires {written!r}: that day is over.")
    return day
