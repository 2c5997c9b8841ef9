"""Which keys servers at ports show, against small servers that speak a little of each protocol."""

from __future__ import annotations

import errno
import itertools
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from certbot_pinkeep.adapters import ports, starttls
from certbot_pinkeep.core.pem import load_private_key
from certbot_pinkeep.core.pins import pin_of
from certbot_pinkeep.core.tlsa import Port, Start
from certbot_pinkeep.core.zone_observations import PortObservation
from simulated.tls_server import (
    EC_KEY,
    NAME,
    RSA_KEY,
    SHORT,
    TODAY,
    Answering,
    Server,
    cert,
    context,
    free_port,
    say_nothing,
)
from simulated.values import DAY, make_pem

STALE_KEY = make_pem()
EC, RSA, STALE = (
    pin_of(load_private_key(key).public_key()) for key in (EC_KEY, RSA_KEY, STALE_KEY)
)
LOCAL = "127.0.0.1"
XMPP = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>"
HEAD = "<?xml version='1.0'?><stream:stream xmlns='{}' version='1.0'>"
PROCEED = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
#: What a client says (how it ends), and what the server answers; first of all it may greet.
Script = Sequence[tuple[str, str]]
#: How each protocol comes to TLS, and what is said at the end, inside it.
PROTOCOLS: dict[Start, tuple[Script, bytes]] = {
    "tls": ((), b""),
    "smtp": (
        (
            ("", "220-mail.example.com waits\r\n220 mail.example.com ESMTP\r\n"),
            ("EHLO [127.0.0.1]\r\n", "250-mail\r\n250-SIZE 10\r\n250-STARTTLS\r\n250 HELP\r\n"),
            ("STARTTLS\r\n", "220 2.0.0 Ready\r\n"),
        ),
        b"QUIT\r\n",
    ),
    "imap": (
        (
            ("", "* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n"),
            ("a STARTTLS\r\n", "* NOTE one more\r\na OK begin\r\n"),
        ),
        b"b LOGOUT\r\n",
    ),
    "pop3": ((("", "+OK ready\r\n"), ("STLS\r\n", "+OK begin\r\n")), b"QUIT\r\n"),
    "sieve": (
        (
            ("", '"IMPLEMENTATION" "some"\r\n"STARTTLS"\r\nOK "ready"\r\n'),
            ("STARTTLS\r\n", 'OK "begin"\r\n'),
        ),
        b"LOGOUT\r\n",
    ),
    "xmpp-client": (
        (
            ("streams'>", f"{HEAD.format('jabber:client')}{XMPP}"),
            ("xmpp-tls'/>", PROCEED),
        ),
        b"</stream:stream>",
    ),
    "xmpp-server": (
        (
            ("streams'>", f"{HEAD.format('jabber:server')}{XMPP}"),
            ("xmpp-tls'/>", PROCEED.replace("/>", "></proceed>")),
        ),
        b"</stream:stream>",
    ),
}


@dataclass
class Mail:
    """A server that speaks by a script, a few characters at a time, and then TLS.

    :ivar contexts: of its connections in the order in which they come; the last one of all further ones
    :ivar said: what clients sent inside TLS, each
    :ivar names: the names that clients asked for
    :ivar seen: set after all connections of one look at a server that has one key
    """

    script: Script
    contexts: Sequence[ssl.SSLContext]
    said: list[bytes] = field(default_factory=list)
    names: set[str | None] = field(default_factory=set)
    seen: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        last = itertools.repeat(self.contexts[-1]) if self.contexts else iter(())
        self._next = itertools.chain(self.contexts, last)
        self._lock = threading.Lock()

    def __call__(self, connection: socket.socket, _: threading.Event) -> None:
        """Serve a connection."""
        with self._lock:
            mine = next(self._next)
        mine.sni_callback = lambda _, name, __: self.names.add(name)
        for wanted, answer in self.script:
            received = b""
            while not received.endswith(wanted.encode()):
                received += connection.recv(4096)
            for start in range(0, len(answer), 9):
                connection.sendall(answer[start : start + 9].encode())
        with mine.wrap_socket(connection, server_side=True) as inner:
            try:
                self.said.append(inner.recv(4096))
            except OSError:  # the client is gone
                self.said.append(b"")
        if len(self.said) >= 2 * ports.LOOKS:
            self.seen.set()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., tuple[Port, Mail]]]:
    """Start servers: by how TLS starts, and by the keys that each connection is shown."""
    with ExitStack() as running:

        def start(how: Start = "tls", *shown: tuple[bytes, ...], host: str = LOCAL, port: int = 0):  # type: ignore[no-untyped-def]
            made = {
                keys: context(tmp_path, *((key, cert(key)) for key in keys)) for keys in set(shown)
            }
            mail = Mail(PROTOCOLS[how][0], [made[keys] for keys in shown])
            _, number = running.enter_context(Server(mail, host=host, port=port))
            return Port(NAME, number, how), mail

        yield start


Serve = Callable[..., tuple[Port, Mail]]


def look(port: Port, *addresses: str, seconds: float = 30) -> list[PortObservation]:
    """Look at a port of a host that has these addresses."""
    return ports.look([port], seconds=seconds, addresses={NAME: addresses or (LOCAL,)})


def told(answering: Answering, start: Start = "smtp", seconds: float = 30) -> str:
    """Why nothing is seen of a server."""
    with Server(answering) as (_, number):
        (shown,) = look(Port(NAME, number, start), seconds=seconds)
    assert not shown.pins
    return shown.error


@pytest.mark.parametrize("start", PROTOCOLS)
def test_g13_keys_are_seen_however_tls_starts(serve: Serve, start: Start) -> None:
    """After each protocol's command, whatever lines come before; the host is asked for, and bid farewell."""
    port, mail = serve(start, (EC_KEY,))
    assert look(port) == [PortObservation(port, LOCAL, (EC,))] and mail.seen.wait(30)
    assert mail.names == {NAME} and set(mail.said) == {PROTOCOLS[start][1]}


def test_g13_the_key_of_each_type_is_seen(serve: Serve) -> None:
    """A type that a server lacks is asked for once, so its log has one line of it."""
    port, mail = serve("smtp", (EC_KEY, RSA_KEY))
    (shown,) = look(port)
    assert (set(shown.pins), shown.error) == ({EC, RSA}, "")
    port, mail = serve("smtp", (RSA_KEY,))
    (shown,) = look(port)
    assert (shown.pins, shown.error) == ((RSA,), "") and mail.seen.wait(30)


def test_g13_a_stale_process_behind_the_same_address_is_seen(serve: Serve) -> None:
    """One look proves nothing: here the last connection of eight is the one that it takes."""
    fresh = [(EC_KEY,)] * 8
    port, _ = serve("imap", *fresh, (STALE_KEY,))
    (shown,) = look(port)
    assert (shown.pins, shown.error) == ((EC, STALE), "")


def test_g13_a_stale_process_with_a_key_of_another_type_is_seen(serve: Serve) -> None:
    """A type that is shown now and then is an error, though all its pins are told."""
    both = [(EC_KEY, RSA_KEY)] * 8
    port, _ = serve("tls", *both, (STALE_KEY,))
    (shown,) = look(port)
    assert {EC, RSA} <= set(shown.pins)
    assert STALE in shown.pins or shown.error == "it shows keys of another type now and then"


def test_names_and_dates_of_the_certificate_do_not_count(tmp_path: Path) -> None:
    """DANE-EE pins the key alone (RFC 7671 §5.1)."""
    odd = cert(name="other.example", start=TODAY - 300 * DAY)
    with Server(Mail((), [context(tmp_path, (EC_KEY, odd))])) as (_, number):
        (shown,) = look(Port(NAME, number))
    assert (shown.pins, shown.error) == ((EC,), "")


def test_without_tls_1_2_the_server_chooses(tmp_path: Path) -> None:
    """It shows one certificate, and that is no error."""
    modern = context(tmp_path, (EC_KEY, cert()))
    modern.minimum_version = ssl.TLSVersion.TLSv1_3
    with Server(Mail((), [modern])) as (_, number):
        (shown,) = look(Port(NAME, number))
    assert (shown.pins, shown.error) == ((EC,), "")


def says(*script: tuple[str, str], ends: bool = True) -> Answering:
    """A server that says this, and then closes the connection, or waits."""

    def serve(connection: socket.socket, ended: threading.Event) -> None:
        for wanted, answer in script:
            if wanted:
                connection.recv(4096)
            connection.sendall(answer.encode())
        if not ends:
            ended.wait()

    return serve


GREETING, EHLO = PROTOCOLS["smtp"][0][:2]


@pytest.mark.parametrize(
    ("start", "answering", "error"),
    [
        ("smtp", says(("", "554 5.3.2 go away\r\n")), 'answers "554 5.3.2 go away" to the con'),
        ("smtp", says(GREETING, ("EHLO", "502 what\r\n")), 'it answers "502 what" to EHLO'),
        ("smtp", says(GREETING, ("EHLO", "250 mail\r\n")), "it does not offer STARTTLS"),
        (
            "smtp",
            says(GREETING, EHLO, ("S", "454 not now\r\n")),
            'answers "454 not now" to STARTTLS',
        ),
        ("smtp", says(GREETING, EHLO, ("S", "220 go\r\nMAIL")), "it sent more before TLS"),
        ("smtp", says(GREETING), "it closed the connection"),
        ("smtp", says(("", "x" * (1 << 17)), ends=False), "its answer has no end"),
        ("imap", says(("", "* BYE too many\r\n")), 'it answers "* BYE too many" to the con'),
        ("imap", says(("", "* OK\r\n"), ("a", "a BAD no TLS\r\n")), '"a BAD no TLS" to STARTTLS'),
        ("pop3", says(("", "+OK\r\n"), ("S", "-ERR\x1b[1m\r\n")), r'"-ERR\x1b[1m" to STLS'),
        ("sieve", says(("", '"SASL" ""\r\nOK\r\n')), "it does not offer STARTTLS"),
        ("xmpp-client", says(("<", f"{HEAD}<features/>")), "it does not offer STARTTLS"),
        ("xmpp-client", says(("<", f"{HEAD}<host-unknown/></stream:stream>")), "to its stream"),
        ("xmpp-server", says(("<", XMPP), ("<", "<failure/>")), '"<failure/>" to starttls'),
        ("tls", says(GREETING, ends=False), "nothing that speaks TLS answers there"),
    ],
)
def test_g13_a_server_that_does_not_let_tls_start_is_an_error(
    start: Start, answering: Answering, error: str
) -> None:
    """Its answer is told, in one line that a terminal can show."""
    assert error in told(answering, start)


def test_g3_no_answer_is_searched_from_each_of_its_characters_on() -> None:
    """A long line without an end would take minutes, in which nobody else has the processor either."""
    for step in (one for steps in starttls._STEPS.values() for one in steps):
        assert re.match(r"\(\?\w+\)\^|<", step.ends) and "[^>]" not in step.ends


def dribble(connection: socket.socket, ended: threading.Event) -> None:
    """A server that greets for ever, a byte now and then."""
    while not ended.wait(0.01):
        connection.sendall(b"2")


@pytest.mark.parametrize("start", ["smtp", "tls"])
@pytest.mark.parametrize("answering", [dribble, say_nothing])
def test_g13_a_server_that_takes_too_long_is_an_error(answering: Answering, start: Start) -> None:
    """The time limit holds for all of a look."""
    error = told(answering, start, seconds=SHORT)
    assert error in ("it took longer than 0.3 seconds", "nothing that speaks TLS answers there")
    assert start != "smtp" or error.startswith("it took")


def test_a_port_that_does_not_answer_takes_no_time_from_the_others(serve: Serve) -> None:
    """They are looked at side by side, and told in their order."""
    port, mail = serve("smtp", (EC_KEY,))

    def wait_for_the_other(connection: socket.socket, _: threading.Event) -> None:
        mail.seen.wait(30)

    with Server(wait_for_the_other) as (_, number):
        slow = Port(NAME, number, "smtp")
        found = ports.look([slow, port], seconds=30, addresses={NAME: [LOCAL]})
    assert [(one.port, one.pins) for one in found] == [(slow, ()), (port, (EC,))]
    assert found[0].error == "it closed the connection" and mail.seen.is_set()


def test_g13_another_server_at_another_address_is_seen(serve: Serve) -> None:
    """IPv6 is looked at as IPv4 is."""
    port, _ = serve("smtp", (EC_KEY,))
    serve("smtp", (STALE_KEY,), host="127.0.0.2", port=port.number)
    found = look(port, LOCAL, "127.0.0.2")
    assert [(one.address, one.pins) for one in found] == [(LOCAL, (EC,)), ("127.0.0.2", (STALE,))]


def test_an_address_where_nobody_serves_a_key_is_left_out(serve: Serve) -> None:
    """If the port answers at another address; else each of them is an error."""
    port, _ = serve("imap", (EC_KEY,))
    assert look(port, "127.0.0.9", LOCAL) == [PortObservation(port, LOCAL, (EC,))]
    nobody = Port(NAME, free_port()[1])
    found = look(nobody, "127.0.0.9", LOCAL)
    assert [(one.where, one.error) for one in found] == [
        (f"{nobody} ({address})", "Connection refused") for address in ("127.0.0.9", LOCAL)
    ]


def test_g13_an_address_without_a_route_is_an_error(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may reach it, and be shown another key: it is never left out."""
    port, _ = serve("imap", (EC_KEY,))
    real = socket.socket.connect

    def connect(self: socket.socket, address: tuple[str, int]) -> None:
        if address[0] == "192.0.2.1":
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    _, unseen = look(port, LOCAL, "192.0.2.1")
    assert unseen.error == "this machine has no route to it (Network is unreachable)"
    assert not unseen.routed


def test_g13_a_host_that_is_not_found_is_an_error() -> None:
    """The observation has no address then."""
    port = Port("no.such.invalid", 25, "smtp")
    (shown,) = ports.look([port])
    assert (shown.address, shown.pins) == ("", ()) and shown.error.startswith("no.such.invalid: ")
    assert ports.look([]) == []


def test_g3_looks_while_python_ends() -> None:
    """Certbot's last steps happen when no thread can be started any more: name servers and ports are seen."""
    code = """
import atexit
from certbot_pinkeep.adapters import dns_session, ports
from certbot_pinkeep.core.tlsa import Port
def look():
    with dns_session.Session(5.0) as session:
        print(session.all("ab", str.upper))
    print(ports.look([Port("localhost", 1)], seconds=5.0, addresses={"localhost": ["127.0.0.1"]})[0].error)
atexit.register(look)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == ["{'a': 'A', 'b': 'B'}", "Connection refused"]
