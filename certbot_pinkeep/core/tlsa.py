"""Ports, and the TLSA records that pin the keys of their servers. Pure.

The rules:

* A pin is the data of a TLSA record with usage 3, selector 1 and matching type 1 (RFC 7671 §5.1): the same
  digest, in hexadecimal. pinkeep writes no other records.
* The records of a port are at ``_PORT._tcp.HOST`` (RFC 6698 §3), whatever alias follows.
* A record of usage 1 or 3 binds a server to its key or certificate. A record of usage 0 or 2 names an
  authority, and any key that this authority certifies will do (RFC 6698 §2.1.1).
* A port is a number or the name of a service. How TLS starts there follows from the number; another way is
  given after a slash: ``2525/smtp``. ``HOST:PORT`` is that port at one host; ``PORT`` is it at each host.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, cast, get_args

from certbot_pinkeep.core import hostnames, times
from certbot_pinkeep.core.errors import BadOption

#: How TLS starts: at once, or after a command of this protocol.
Start = Literal["tls", "smtp", "imap", "pop3", "sieve", "xmpp-client", "xmpp-server"]
#: By number: how TLS starts, if not at once.
_STARTS: dict[int, Start] = {
    25: "smtp",
    110: "pop3",
    143: "imap",
    587: "smtp",
    4190: "sieve",
    5222: "xmpp-client",
    5269: "xmpp-server",
}
#: The names of services (RFC 6335), and what people call them.
_SERVICES = {
    "smtp": 25,
    "pop3": 110,
    "imap": 143,
    "https": 443,
    "smtps": 465,
    "submissions": 465,
    "submission": 587,
    "imaps": 993,
    "pop3s": 995,
    "sieve": 4190,
    "managesieve": 4190,
    "xmpp-client": 5222,
    "xmpp-server": 5269,
}
_LARGEST = 65535
_OPTION = "--pinkeep-tlsa"
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, order=True)
class Port:
    """A port of a host, whose server's key is pinned in the zone.

    :ivar host: in lower case, without a dot at its end; empty, in an option: every host of the keyring
    :ivar start: how TLS starts there; with another one it is the same port
    """

    host: str
    number: int
    start: Start = field(default="tls", compare=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.number}"

    @property
    def owner(self) -> str:
        """The name of its records, with a dot at its end."""
        return f"_{self.number}._tcp.{self.host}."


@dataclass(frozen=True, order=True)
class TlsaRecord:
    """The data of a TLSA record (RFC 6698 §2.1).

    :ivar data: in hexadecimal, lower case
    """

    usage: int
    selector: int
    matching: int
    data: str

    def __str__(self) -> str:
        return f"{self.usage} {self.selector} {self.matching} {self.data}"

    @property
    def pin(self) -> str | None:
        """The pin that it carries; ``None``: it carries none."""
        kind = (self.usage, self.selector, self.matching)
        if kind != (3, 1, 1) or not _DIGEST.fullmatch(self.data):
            return None
        return base64.b64encode(bytes.fromhex(self.data)).decode("ascii")

    @property
    def binds(self) -> bool:
        """Whether it binds the server to one key or certificate."""
        return self.usage in (1, 3)


def record_of(pin: str) -> TlsaRecord:
    """Return the record that carries a pin."""
    return TlsaRecord(3, 1, 1, base64.b64decode(pin).hex())


def short(pin: str) -> str:
    """Return the beginning of a pin: in tables and lists that is enough to tell it."""
    return f"{pin[:12]}…"


def parse_ports(value: object) -> tuple[Port, ...]:
    """Return the ports that an option names; none for an empty value and ``none``.

    :param value: a list with commas, e.g. ``25,465,mail.example.com:993``; ``None``: not given
    :raises BadOption: if one of them is no port
    """
    text = "" if value is None else str(value).strip()
    if text.lower() in ("", "none"):
        return ()
    return tuple(dict.fromkeys(_parse(one.strip(), text) for one in text.split(",")))


def _parse(one: str, all_of_them: str) -> Port:
    before, colon, rest = one.rpartition(":")
    host = hostnames.host(before) if colon else None
    if colon and (host is None or host.startswith("*.") or ":" in host):
        raise BadOption(_OPTION, all_of_them, f"{before!r} is no host's name.")
    name, slash, start = rest.lower().partition("/")
    number = _SERVICES.get(name) or _number(name)
    if number is None:
        why = (
            f"{one!r} is no port: give numbers from 1 to {_LARGEST} or services, such as 25,imaps."
        )
        raise BadOption(_OPTION, all_of_them, why)
    if slash and start not in get_args(Start):
        why = f"after the slash in {one!r}, give one of these: {', '.join(get_args(Start))}."
        raise BadOption(_OPTION, all_of_them, why)
    chosen = cast(Start, start) if slash else _STARTS.get(number, "tls")
    return Port(host or "", number, chosen)


def read_port(host: str, number: str, start: str) -> Port:
    """Return a port whose parts were written as text.

    :raises ValueError: if they are none
    """
    if hostnames.host(host) != host or _number(number) is None or start not in get_args(Start):
        raise ValueError(f"not a port: {host}:{number}/{start}")
    return Port(host, int(number), cast(Start, start))


def _number(text: str) -> int | None:
    try:
        return times.number(text, _LARGEST) or None
    except ValueError:
        return None


def ports_of(choices: Iterable[Port], hosts: Iterable[str]) -> tuple[Port, ...]:
    """Return the ports that are meant at the hosts of a keyring.

    :param hosts: its hosts; a wildcard has no ports (RFC 6698 §3), nor has an address
    """
    named = [host for host in hosts if not host.startswith("*.") and not hostnames.is_address(host)]
    found = (
        replace(choice, host=host)
        for choice in choices
        for host in ([choice.host] if choice.host else named)
    )
    return tuple(dict.fromkeys(found))
