"""What is said on a port before TLS starts, by protocol.

The rules:

* A protocol is a table of steps: what is sent, how the answer ends, and what a good answer has. SMTP (RFC
  3207), IMAP (RFC 3501 §6.2.1), POP3 (RFC 2595 §4), ManageSieve (RFC 5804 §2.2) and XMPP (RFC 6120 §5).
* What a server sends is searched again with each part that comes. So no pattern begins anew at each character
  of a long line.
* A server speaks first in all of them but XMPP, and may take its time. Answers may have several lines.
* Nothing may follow the answer after which TLS starts: somebody on the way could have put it there.
* pinkeep says goodbye inside TLS, and waits for the server's goodbye. Else the server records a lost
  connection, which a watchdog may take for an attack. If TLS starts at once, the port's number tells the
  protocol.
* The host's name stands for the domain of an XMPP stream. A server that serves other domains only refuses.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from typing import cast

from certbot_pinkeep.adapters.tls import Deadline, Ended
from certbot_pinkeep.core import text
from certbot_pinkeep.core.tlsa import Port, Start

_LARGEST = 1 << 16
_GREETING = "the connection"


@dataclass(frozen=True)
class _Step:
    """A command and its answer.

    :ivar name: the command, to be told
    :ivar sent: what is sent; ``{host}`` is the host, ``{me}`` is this machine
    :ivar ends: how the answer ends
    :ivar good: what an answer has that lets us go on
    :ivar offers: what it has if TLS is offered
    """

    name: str
    sent: str
    ends: str
    good: str
    offers: str = ""


_SMTP_ENDS = r"(?m)^\d{3}(?: [^\n]*|\r?)\n"
_LINE = r"(?m)^[^\n]*\n"
_SIEVE_ENDS = r"(?mi)^(?:OK|NO|BYE)\b[^\n]*\n"
_XMPP_TLS = "urn:ietf:params:xml:ns:xmpp-tls"


def _xmpp(stream: str) -> tuple[_Step, ...]:
    header = (
        f"<?xml version='1.0'?><stream:stream to='{{host}}' xmlns='{stream}' version='1.0'"
        " xmlns:stream='http://etherx.jabber.org/streams'>"
    )
    features = r"</(?:\w+:)?features\s*>|<(?:\w+:)?features\s*/>"
    return (
        _Step("its stream", header, rf"{features}|</(?:\w+:)?stream\s*>", features, _XMPP_TLS),
        _Step(
            "starttls",
            f"<starttls xmlns='{_XMPP_TLS}'/>",
            r"<(?:\w+:)?proceed\b[^<>]*(?:/>|>\s*</(?:\w+:)?proceed\s*>)|<(?:\w+:)?failure\b[^<>]*>",
            r"<(?:\w+:)?proceed\b",
        ),
    )


_STEPS: dict[Start, tuple[_Step, ...]] = {
    "tls": (),
    "smtp": (
        _Step(_GREETING, "", _SMTP_ENDS, r"(?m)^220[ \r\n]"),
        _Step(
            "EHLO",
            "EHLO {me}\r\n",
            _SMTP_ENDS,
            r"(?m)^250[ \r\n]",
            r"(?mi)^250[ -]STARTTLS\b",
        ),
        _Step("STARTTLS", "STARTTLS\r\n", _SMTP_ENDS, r"(?m)^220[ \r\n]"),
    ),
    "imap": (
        _Step(_GREETING, "", _LINE, r"(?i)^\* OK\b"),
        _Step("STARTTLS", "a STARTTLS\r\n", r"(?m)^a [^\n]*\n", r"(?mi)^a OK\b"),
    ),
    "pop3": (
        _Step(_GREETING, "", _LINE, r"^\+OK\b"),
        _Step("STLS", "STLS\r\n", _LINE, r"^\+OK\b"),
    ),
    "sieve": (
        _Step(_GREETING, "", _SIEVE_ENDS, r"(?mi)^OK\b", r'(?mi)^"STARTTLS"'),
        _Step("STARTTLS", "STARTTLS\r\n", _SIEVE_ENDS, r"(?mi)^OK\b"),
    ),
    "xmpp-client": _xmpp("jabber:client"),
    "xmpp-server": _xmpp("jabber:server"),
}
_LEAVE: dict[Start, bytes] = {
    "smtp": b"QUIT\r\n",
    "imap": b"b LOGOUT\r\n",
    "pop3": b"QUIT\r\n",
    "sieve": b"LOGOUT\r\n",
    "xmpp-client": b"</stream:stream>",
    "xmpp-server": b"</stream:stream>",
}


#: What is spoken inside TLS that starts at once.
_INSIDE: dict[int, Start] = {465: "smtp", 993: "imap", 995: "pop3"}
#: How long to wait for a server's leave: seconds, and parts.
_FAREWELL = 1.0
_FEW = 8


def negotiate(connection: socket.socket, start: Start, host: str, deadline: Deadline) -> None:
    """Bring a connection to where TLS starts.

    :raises Ended: if the server does not let it start
    :raises OSError: if the server does not answer in time
    """
    rest = ""
    for step in _STEPS[start]:
        rest = _said(connection, step, host, deadline)
    if rest:
        raise Ended("tls", "it sent more before TLS than its answer")


def leave(connection: socket.socket, port: Port, deadline: Deadline) -> None:
    """Take leave, inside TLS.

    :raises OSError: if the server is gone, or does not answer
    """
    words = _LEAVE.get(_INSIDE.get(port.number, "tls") if port.start == "tls" else port.start)
    if words is not None:
        farewell = Deadline(min(deadline.left(), _FAREWELL))
        connection.settimeout(farewell.left())
        connection.sendall(words)
        for _ in range(_FEW):
            connection.settimeout(farewell.left())
            if not connection.recv(_LARGEST):
                return


def _said(connection: socket.socket, step: _Step, host: str, deadline: Deadline) -> str:
    """Take one step; what the server sent after its answer is returned."""
    sent = step.sent.format(host=host, me=_me(connection))
    connection.settimeout(deadline.left())
    connection.sendall(sent.encode("ascii"))
    received = ""
    while not (end := re.search(step.ends, received, re.DOTALL)):
        connection.settimeout(deadline.left())
        part = connection.recv(_LARGEST).decode("latin-1")
        if not part:
            raise Ended("tls", "it closed the connection")
        received += part
        if len(received) > _LARGEST:
            raise Ended("tls", "its answer has no end")
    answer = received[: end.end()]
    if not re.search(step.good, answer):
        last = text.short(answer.rstrip().rpartition("\n")[2])
        raise Ended("tls", f'it answers "{last}" to {step.name}')
    if not re.search(step.offers, answer):
        raise Ended("tls", "it does not offer STARTTLS")
    return received[end.end() :]


def _me(connection: socket.socket) -> str:
    """Return this machine as an address (RFC 5321 §4.1.3): its name may be no name that servers take."""
    address = cast(str, connection.getsockname()[0]).partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
