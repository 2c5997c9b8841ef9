"""``certbot-pinkeep export``."""

from __future__ import annotations

import argparse
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from certbot_pinkeep import moments, reach
from certbot_pinkeep.commands import common
from certbot_pinkeep.errors import BadExport
from certbot_pinkeep.store import State

if TYPE_CHECKING:
    from certbot_pinkeep.exports import Pinned, Settings

_HELP = "what is pinned, for something else than Apache"
_EXAMPLE = """\
  certbot-pinkeep export example.com --format ios -o Info.plist
  certbot-pinkeep export example.com --format tlsa --port 443 --port 25
  curl --pinnedpubkey "$(certbot-pinkeep export example.com --format curl)" https://example.com/
"""
_FORMATS = (
    "header, json, nginx, ios (Info.plist), android (network_security_config.xml), okhttp, trustkit, "
    "curl (--pinnedpubkey), tlsa (DNS records), or one that another package adds"
)
#: For how many days an app pins that is not updated, where nothing else is said.
_EXPIRES = 365


def add(commands: common.Commands) -> None:
    """Add its parser."""
    command = common.add_command(commands, "export", _HELP, _EXAMPLE)
    common.add_name(command)
    command.add_argument("--format", metavar="FORMAT", required=True, help=_FORMATS)
    command.add_argument("-o", "--output", metavar="FILE", help="where to; left out: printed")
    command.add_argument(
        "--host",
        metavar="HOST",
        action="append",
        help="a host of the keyring, or one that it covers; can be repeated; left out: all of them",
    )
    command.add_argument(
        "--port",
        metavar="PORT[/udp]",
        action="append",
        help="for tlsa: a port; can be repeated; left out: 443",
    )
    command.add_argument(
        "--expires",
        metavar="DATE",
        help="for android and trustkit: the day from which the app stops pinning, or 'never'; left "
        "out: a year from now",
    )
    command.set_defaults(run=_export)


def _export(parsed: argparse.Namespace) -> int:
    from certbot_pinkeep import exports

    now = moments.now()
    settings = _settings(parsed, now)
    keeper = common.keeper_of(common.certbots_config(parsed))
    state = common.load_one(keeper.store, common.name_of(parsed))
    pinned = _pinned(state, keeper.hosts_now(state.keyring), now)
    if parsed.host:
        pinned = replace(pinned, hosts=tuple(_host(pinned, host) for host in parsed.host))
    text = exports.render(parsed.format, pinned, settings)
    if not parsed.output:
        print(text, end="")
        return 0
    common.write(parsed.output, text.encode())
    print(
        f"{parsed.output} has the {len(pinned.pins)} pins of the keyring {pinned.name}. What carries "
        f"them is to be on record: certbot-pinkeep release {pinned.name} add --help"
    )
    return 0


def _pinned(state: State, hosts: tuple[str, ...], now: datetime) -> Pinned:
    from certbot_pinkeep.exports import Pin, Pinned

    keyring, current = state.keyring, state.ledger.current
    if current is None or state.unpinned(now):
        raise BadExport(f"The keyring {keyring.name} publishes no pins. Run: certbot renew")
    served = {member.pin for member in keyring.members}
    found = []
    for pin in current.pins:
        key = keyring.key(pin)
        if key is None:
            raise BadExport(
                f"The keyring {keyring.name} publishes a pin whose key it does not have ({pin}). Run: "
                "certbot renew"
            )
        in_service = pin in served and key.role != "compromised"
        found.append(Pin(pin, key.kind.key_type, "in-service" if in_service else key.role))
    return Pinned(keyring.name, hosts, current.policy, tuple(found), now)


def _host(pinned: Pinned, written: str) -> str:
    host = written.lower().rstrip(".")
    if not reach.covered(pinned.hosts, [host], pinned.policy.include_subdomains):
        raise BadExport(
            f"--host {written!r}: the keyring {pinned.name} does not pin it. Its hosts: "
            f"{', '.join(pinned.hosts)}. Nothing was written."
        )
    return host


def _settings(parsed: argparse.Namespace, now: datetime) -> Settings:
    from certbot_pinkeep.exports import Settings

    ports = tuple(_port(written) for written in parsed.port or ["443"])
    return Settings(ports, _expires(parsed.expires, now))


def _port(written: str) -> str:
    number, _, protocol = written.partition("/")
    known = number.isascii() and number.isdigit() and 0 < int(number) < 65536
    if not known or (protocol or "tcp") not in ("tcp", "udp", "sctp"):
        raise BadExport(f"--port {written!r}: write it as 443, or as 443/udp. Nothing was written.")
    return f"{int(number)}/{protocol or 'tcp'}"


def _expires(written: str | None, now: datetime) -> date | None:
    if written is None:
        return now.date() + timedelta(days=_EXPIRES)
    if written == "never":
        return None
    try:
        day = date.fromisoformat(written)
    except ValueError:
        raise BadExport(
            f"--expires {written!r}: write it as 2027-11-24, or 'never'. Nothing was written."
        ) from None
    if day <= now.date():
        raise BadExport(f"--expires {written!r}: that is over. Nothing was written.")
    return day
