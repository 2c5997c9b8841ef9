"""Questions to name servers, many at once, with one time limit for all. Needs dnspython.

The rules:

* Each question goes out from a socket of its own: if several processes share an address, its port decides
  which of them answers. An answer that was cut is asked for again over TCP.
* A question that no answer came to is asked again over TCP, and a last time over UDP. BIND, Knot DNS and NSD
  drop answers over UDP if they limit their rate, and none over TCP.
* Few questions are under way to one name server at a time. If it dropped one of them, the next ones go over
  TCP at once: the machine's resolver may ask it from the same address, and would be limited as well. If it
  does not answer over TCP, it is not asked that way again.
* What goes wrong is told as a part of a sentence. Nothing is raised.
* An address to which this machine has no route is told apart from one that does not answer. So it is from one
  that another machine calls out of reach: others may reach that.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import dns.edns
import dns.exception
import dns.flags
import dns.inet
import dns.message
import dns.query
import dns.rcode
import dns.rdataclass
import dns.resolver
from dns.message import Message
from dns.name import Name
from dns.rdatatype import RdataType

from certbot_pinkeep.adapters.threads import Pool, results
from certbot_pinkeep.adapters.tls import Deadline

#: A name, what is asked for there, and the address of the name server that is asked.
Question = tuple[Name, RdataType, str]
K = TypeVar("K")
V = TypeVar("V")

PORT = 53
#: How a question is asked one time after the other: by which protocol, and for how many seconds.
Tries = tuple[tuple[str, float], ...]
_DIRECT: Tries = (("udp", 1.0), ("tcp", 1.5), ("udp", 1.5))
#: The same for a name server that dropped a question before.
_LIMITED: Tries = (("tcp", 1.5), ("udp", 1.5))
#: The same for a name server that did not answer over TCP.
_UDP_ONLY: Tries = (("udp", 1.0), ("udp", 2.0))
#: The same for a name server that asks others.
_RESOLVER: Tries = (("udp", 2.0), ("udp", 3.0))
#: So many questions are under way to one name server at a time.
_ROWS = 4
#: RFC 6891 §6.2.5, and what passes everywhere.
_PAYLOAD = 1232


class NoRoute(OSError):
    """This machine has no route to an address."""


@dataclass(frozen=True)
class Reply:
    """What became of a question.

    :ivar message: the answer; ``None``: there is none
    :ivar error: why there is none, as a part of a sentence
    :ivar routed: whether there is a route to the address
    :ivar dropped: whether no answer came in time
    """

    message: Message | None = None
    error: str = ""
    routed: bool = True
    dropped: bool = False

    @property
    def code(self) -> str:
        """The answer's code, e.g. ``NOERROR``; empty: there is no answer."""
        return dns.rcode.to_text(self.message.rcode()) if self.message else ""

    @property
    def told(self) -> bool:
        """Whether it says what there is, or that there is nothing."""
        return self.code in ("NOERROR", "NXDOMAIN")


class Session(Pool):
    """A time limit, and threads that keep to it. Use it as a context manager."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._deadline = Deadline(seconds)
        self._limiting: set[str] = set()
        self._without_tcp: set[str] = set()
        self.resolvers = _resolvers()

    def all(self, keys: Iterable[K], ask: Callable[[K], V]) -> dict[K, V]:
        """Return what *ask* returns for each of the keys; it is called for all of them at once."""
        asked = list(dict.fromkeys(keys))
        replies = results([self.submit(ask, key) for key in asked])
        return dict(zip(asked, replies, strict=True))

    def ask(self, name: Name, kind: RdataType, address: str) -> Reply:
        """Ask a name server for what it knows by itself."""
        tries = _LIMITED if address in self._limiting else _DIRECT
        if address in self._without_tcp:
            tries = _UDP_ONLY
        return self._ask(_question(name, kind, 0), address, tries)

    def ask_all(self, questions: Iterable[Question]) -> list[tuple[Question, Reply]]:
        """Ask name servers for what they know by themselves, each of them a few questions at a time."""
        rows: dict[tuple[str, int], list[Question]] = {}
        numbers: dict[str, int] = {}
        for one in questions:
            number = numbers[one[2]] = numbers.get(one[2], -1) + 1
            rows.setdefault((one[2], number % _ROWS), []).append(one)
        replies = self.all(rows, lambda row: [self.ask(*one) for one in rows[row]])
        return [
            pair for row, found in replies.items() for pair in zip(rows[row], found, strict=True)
        ]

    def ask_resolver(self, name: Name, kind: RdataType, *, check: bool) -> Reply:
        """Ask the machine's resolvers, one after the other, until one of them answers.

        :param check: whether it is to validate the answer, if it can
        """
        flags = dns.flags.RD | dns.flags.AD | (0 if check else dns.flags.CD)
        reply = Reply(error="no resolver is configured")
        for address in self.resolvers:
            reply = self._ask(_question(name, kind, flags), address, _RESOLVER)
            if reply.told:
                break
            error = reply.error or f"it answered {explained(reply)}"
            reply = Reply(reply.message, f"the resolver {address} failed: {error}")
        return reply

    def _ask(self, question: Message, address: str, tries: Tries) -> Reply:
        reply = Reply()
        for protocol, limit in tries:
            try:
                reply = _sent(question, address, min(limit, self._deadline.left()), protocol)
            except TimeoutError as error:
                return Reply(error=self._deadline.why(error))
            if reply.message or not reply.routed:
                break
            if protocol == "tcp":
                self._without_tcp.add(address)
            elif reply.dropped:
                self._limiting.add(address)
        return reply


def found_at(message: Message, name: Name, kind: RdataType) -> Iterable[Any]:
    """Return the records of one kind that an answer has at a name."""
    return message.get_rrset(message.answer, name, dns.rdataclass.IN, kind) or ()


def explained(reply: Reply) -> str:
    """Return the code of an answer, and what the server says of it (RFC 8914)."""
    options = reply.message.options if reply.message else ()
    more = [
        one.text or (one.code.name.replace("_", " ").lower() if hasattr(one.code, "name") else "")
        for one in options
        if isinstance(one, dns.edns.EDEOption)
    ]
    told = ", ".join(dict.fromkeys(filter(None, more)))
    return f"{reply.code} ({told})" if told else reply.code


def exchange(question: Message, address: str, seconds: float, protocol: str = "udp") -> Message:
    """Send a question to a name server, and return the answer.

    :param protocol: ``udp`` or ``tcp``; an answer over UDP that was cut is asked for again over TCP
    :raises NoRoute: if there is no route
    :raises OSError: if nothing listens
    :raises dns.exception.DNSException: if no answer comes in time, or one that is none
    """
    if protocol == "tcp":
        return dns.query.tcp(question, address, seconds, PORT)
    where = dns.inet.low_level_address_tuple((address, PORT))
    family = dns.inet.af_for_address(address)
    try:
        with _connected(family, where) as own:
            return dns.query.udp(
                *(question, address, seconds, PORT),
                sock=own,
                ignore_unexpected=True,
                raise_on_truncation=True,
            )
    except dns.message.Truncated:
        return dns.query.tcp(question, address, seconds, PORT)


def _connected(family: int, where: Any) -> socket.socket:
    """Return a socket of which the kernel tells at once if nothing listens at the other end.

    :raises NoRoute: if there is no route
    """
    own = None
    try:
        own = socket.socket(family, socket.SOCK_DGRAM)  # the kernel may lack the family
        own.setblocking(False)
        own.connect(where)
        return own
    except OSError as error:
        if own is not None:
            own.close()
        raise NoRoute(error.errno, error.strerror) from error


def _sent(question: Message, address: str, seconds: float, protocol: str) -> Reply:
    try:
        return Reply(exchange(question, address, seconds, protocol))
    except dns.exception.Timeout:
        return Reply(error=f"it did not answer within {seconds:g} seconds", dropped=True)
    except OSError as error:
        return Reply(error=_why(error), routed=not isinstance(error, NoRoute))
    except Exception as error:  # whatever the library makes of an answer that is none
        return Reply(error=f"its answer cannot be read ({type(error).__name__})")


def _why(error: OSError) -> str:
    if isinstance(error, NoRoute):
        return "this machine has no route to it"
    if isinstance(error, (ConnectionRefusedError, ConnectionResetError)):
        return "nothing answers there"
    return error.strerror or type(error).__name__


def _question(name: Name, kind: RdataType, flags: int) -> Message:
    return dns.message.make_query(
        name, kind, use_edns=0, want_dnssec=True, payload=_PAYLOAD, flags=flags
    )


def _resolvers() -> tuple[str, ...]:
    try:
        return tuple(str(one) for one in dns.resolver.Resolver().nameservers)
    except (dns.exception.DNSException, OSError):
        return ("127.0.0.1",)  # as the C library has it
