"""What hosts show, against small servers of our own: trust, headers, key types, time limits."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from certbot_pinkeep.adapters import probe
from certbot_pinkeep.adapters.probe import Way
from certbot_pinkeep.core.errors import PinkeepError
from certbot_pinkeep.core.observations import HttpObservation, Target, TlsObservation
from simulated import no_network
from simulated.tls_server import (
    EC_KEY,
    NAME,
    RSA_KEY,
    SHORT,
    TODAY,
    Addresses,
    Answering,
    Server,
    cert,
    context,
    der,
    free_port,
    say_nothing,
)
from simulated.values import DAY

TARGET = Target(NAME)
PKP = "Public-Key-Pins"


def answer(*headers: str) -> Answering:
    """A server that answers every request with these headers."""

    def serve(connection: socket.socket, _: threading.Event) -> None:
        received = b""
        while b"\r\n\r\n" not in received:
            part = connection.recv(4096)
            if not part:
                return
            received += part
        lines = ["HTTP/1.1 404 Not Found", *headers, "Content-Length: 3", "", "no!"]
        connection.sendall("\r\n".join(lines).encode())

    return serve


def dribble(connection: socket.socket, ended: threading.Event) -> None:
    """A server that sends a byte now and then, for ever."""
    with suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not ended.wait(0.01):
            connection.sendall(b"x")


@contextmanager
def site(
    tmp_path: Path, *certificates: tuple[bytes, bytes], serve: Answering | None = None
) -> Iterator[Way]:
    """A server with TLS; its certificates are trusted."""
    pairs = certificates or ((EC_KEY, cert()),)
    roots = tmp_path / "roots.pem"
    roots.write_bytes(b"".join(pem for _, pem in pairs))
    with Server(serve or answer(f"{PKP}: one"), context(tmp_path, *pairs)) as address:
        yield Way(address, ca_file=str(roots))


def look(way: Way, target: Target = TARGET) -> TlsObservation:
    """The one look over TLS."""
    (shown,), plain = probe.look([target], way)
    assert plain == []
    return shown


def test_headers_are_read_as_they_are_sent(tmp_path: Path) -> None:
    """In order, two equal ones as two, whatever their spelling; of an error as well; no others."""
    only = "public-key-pins-report-only"
    serve = answer(f"{PKP}: a", "X-Other: b", f"{PKP}: a", f"{only}: c, d")
    with site(tmp_path, serve=serve) as way:
        shown = look(way)
    assert shown.headers == ((PKP, "a"), (PKP, "a"), (only, "c, d"))
    assert (shown.stopped, shown.untrusted) == ("", "")


def sends(*parts: bytes) -> Answering:
    """A server that sends this, a part at a time."""

    def serve(connection: socket.socket, _: threading.Event) -> None:
        connection.recv(4096)
        for part in parts:
            connection.sendall(part)

    return serve


ANSWER = b"HTTP/1.1 200 OK\r\n%sPublic-Key-Pins: a\r\n\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\nPublic-Key-Pins: z\r\n\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        (EARLY, ANSWER % b""),
        (EARLY + b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER % b"",),
        (ANSWER % b"no header at all\r\nX-Blank : b\r\n",),
        (ANSWER % b"X-City: \xc3\x85\r\n",),
        (ANSWER % b"".join(b"X-%d: b\r\n" % number for number in range(150)),),
        ((ANSWER % b"").replace(b": a", b":\r\n a"),),
        ((ANSWER % b"").replace(b"\r", b""),),
    ],
)
def test_headers_are_found_as_clients_find_them(tmp_path: Path, parts: tuple[bytes, ...]) -> None:
    """After interim answers, among lines that are no headers, among many, folded."""
    with site(tmp_path, serve=sends(*parts)) as way:
        shown = look(way)
    assert (shown.headers, shown.error) == (((PKP, "a"),), "")


def test_the_certificate_is_looked_at_though_it_is_not_trusted(tmp_path: Path) -> None:
    """It is told why; with its root it is trusted."""
    pem = cert()
    with site(tmp_path, (EC_KEY, pem)) as way:
        assert look(way).untrusted == ""
        shown = look(Way(way.tls))
    assert shown.certificate == der(pem) and shown.headers == ((PKP, "one"),)
    assert "self-signed" in shown.untrusted.replace(" ", "-")


@pytest.mark.parametrize(
    ("pem", "distrust"),
    [
        (cert(name="other.example"), "name"),
        (cert(start=TODAY - 200 * DAY), "time"),
        (cert(start=TODAY + DAY), "time"),
    ],
)
def test_why_a_certificate_is_not_trusted_is_told_by_its_kind(
    tmp_path: Path, pem: bytes, distrust: str
) -> None:
    """Another name, expired, not valid yet: the certificate may tell these itself, or its chain."""
    with site(tmp_path, (EC_KEY, pem)) as way:
        shown = look(way)
        stranger = look(Way(way.tls))
    assert (shown.certificate, shown.distrust, shown.stopped) == (der(pem), distrust, "")
    assert shown.untrusted and (stranger.certificate, stranger.distrust) == (der(pem), "chain")


def test_both_certificates_of_a_host_are_looked_at(tmp_path: Path) -> None:
    """Of each key type the one that is served, whichever the keyring has; one that it has and that is
    not served is told."""
    ec, rsa_ = cert(), cert(RSA_KEY)
    one, both = (Target(NAME, key_types=types) for types in (("ecdsa",), ("ecdsa", "rsa")))
    with site(tmp_path, (EC_KEY, ec), (RSA_KEY, rsa_)) as way:
        for target in (one, both):
            found, _ = probe.look([target], way)
            assert {shown.certificate for shown in found} == {der(ec), der(rsa_)}
            assert [shown.headers for shown in found] == [((PKP, "one"),)] * 2
    with site(tmp_path, (EC_KEY, ec)) as way:
        assert look(way, one).certificate == der(ec)
        found, _ = probe.look([both], way)
    assert [(shown.stopped, shown.key_type) for shown in found] == [("", None), ("type", "rsa")]


def test_without_tls_1_2_the_server_chooses(tmp_path: Path) -> None:
    """It shows one certificate, and that is no fault."""
    server = context(tmp_path, (EC_KEY, cert()))
    server.minimum_version = ssl.TLSVersion.TLSv1_3
    with Server(answer(), server) as address:
        found, _ = probe.look([Target(NAME, key_types=("ecdsa", "rsa"))], Way(address))
    assert [shown.stopped for shown in found] == [""]


def test_time_limits_hold_for_all_of_a_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a server that sends byte after byte, and one that never shakes hands."""
    real, late = time.monotonic, threading.Event()
    monkeypatch.setattr(time, "monotonic", lambda: real() + 60 * late.is_set())

    def serve(connection: socket.socket, ended: threading.Event) -> None:
        connection.recv(4096)  # the handshake is over
        late.set()
        dribble(connection, ended)

    with site(tmp_path, serve=serve) as way:
        shown = look(Way(way.tls, seconds=60))
    assert (shown.stopped, shown.error) == ("http", "it took longer than 60 seconds")
    assert shown.certificate is not None
    with Server(say_nothing) as address:
        shown = look(Way(address, seconds=SHORT))
    assert (shown.stopped, shown.error) == ("slow", "it took longer than 0.3 seconds")


def test_a_name_server_that_does_not_answer_is_left_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The system's resolver knows no time limit."""
    ended = threading.Event()

    def resolve(*_: object, **__: object) -> list[object]:
        ended.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    try:
        (shown,), _ = probe.look([TARGET], Way(seconds=SHORT))
    finally:
        ended.set()
    assert (shown.stopped, shown.error) == (
        "unreachable",
        "example.com: it took longer than 0.3 seconds",
    )


@pytest.mark.parametrize(
    ("error", "left_out"), [(socket.EAI_NONAME, True), (socket.EAI_AGAIN, False)]
)
def test_a_wildcard_that_nobody_uses_is_left_out(
    monkeypatch: pytest.MonkeyPatch, error: int, left_out: bool
) -> None:
    """Only if its name certainly does not exist."""

    def resolve(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(error, "cannot be resolved")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    optional = Target("pinkeep-check.example.com", True, guessed=True)
    shown, _ = probe.look([optional, TARGET], Way())
    absent = TlsObservation(NAME, stopped="unreachable", error="example.com: cannot be resolved")
    assert shown[-1] == absent and len(shown) == (1 if left_out else 2)


@pytest.mark.parametrize(
    ("error", "left_out"), [(socket.EAI_NONAME, True), (socket.EAI_AGAIN, False)]
)
def test_a_wildcard_that_nobody_uses_is_left_out_wherever_we_connect_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, left_out: bool
) -> None:
    """--connect says where hosts are, not that there are any."""
    real = socket.getaddrinfo

    def resolve(host: str, *more: Any, **options: Any) -> Any:
        if host.startswith("pinkeep-check"):
            raise socket.gaierror(error, "cannot be resolved")
        return real(host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    optional = Target("pinkeep-check.example.com", True, guessed=True)
    with site(tmp_path) as way:
        shown, _ = probe.look([optional, TARGET], way)
    guessed = [] if left_out else [(optional.name, True)]
    assert [(one.host, one.guessed) for one in shown] == [*guessed, (NAME, False)]


def test_every_address_of_a_host_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What differs is told with the address; what is the same at all that answer, once."""
    pair = (EC_KEY, cert())
    with ExitStack() as running:
        servers = [
            running.enter_context(Server(answer(f"{PKP}: {sent}"), context(tmp_path, pair), host))
            for host, sent in (("127.0.0.1", "a"), ("127.0.0.2", "a"), ("127.0.0.3", "b"))
        ]
        looks = []
        for known in ([free_port(), *servers[:2]], servers, [free_port()]):
            monkeypatch.setattr(socket, "getaddrinfo", Addresses(known).resolve)
            found, plain = probe.look([TARGET], Way())
            assert plain == [HttpObservation(NAME)]
            looks.append([(one.stopped, one.headers, one.where) for one in found])
    a, b = ((PKP, "a"),), ((PKP, "b"),)
    assert looks == [
        [("", a, NAME)],
        [("", a, f"{NAME} (127.0.0.1, 127.0.0.2)"), ("", b, f"{NAME} (127.0.0.3)")],
        [("unreachable", (), NAME)],
    ]


def test_plain_http_is_looked_at_at_every_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that sends a header is enough."""
    with Server(answer()) as silent, Server(answer(f"{PKP}: a")) as sending:
        known = {1: Addresses([free_port()]), 2: Addresses([free_port(), silent, sending])}

        def resolve(host: str, port: int, *_: object, **__: object) -> list[tuple[Any, ...]]:
            return known[port].resolve()

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        _, plain = probe.look([TARGET], Way(("127.0.0.1", 1), ("127.0.0.1", 2)))
    assert plain == [HttpObservation(NAME, ((PKP, "a"),))]


def test_a_kernel_without_a_family_of_addresses_is_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other addresses, other hosts and plain HTTP are looked at all the same."""
    real = socket.socket

    def make(family: int = -1, *more: Any, **options: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(family, *more, **options)

    with site(tmp_path) as way:
        assert way.tls is not None
        both = Addresses([way.tls]).resolve() + Addresses([way.tls], socket.AF_INET6).resolve()
        for known in (both, both[::-1], both[1:]):
            with monkeypatch.context() as patched:
                patched.setattr(socket, "getaddrinfo", lambda *_, known=known, **__: known)
                patched.setattr(socket, "socket", make)
                (shown,), plain = probe.look([TARGET], Way(way.tls, way.tls, ca_file=way.ca_file))
            assert plain == [HttpObservation(NAME)]
            assert shown.stopped == ("unreachable" if known == both[1:] else "")


def test_what_is_no_tls_or_no_http_is_told(tmp_path: Path) -> None:
    """And nothing is raised."""

    def hang_up(connection: socket.socket, _: threading.Event) -> None:
        connection.recv(4096)

    def babble(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(b"220 mail.example.com ESMTP\r\n\r\n")

    with Server(babble) as address:
        shown = look(Way(address))
    assert (shown.stopped, shown.certificate) == ("tls", None)
    assert shown.error == "nothing that speaks TLS answers there"
    for serve in (hang_up, babble):
        with site(tmp_path, serve=serve) as way:
            shown = look(way)
        assert shown.stopped == "http" and shown.certificate
        assert shown.error in ("it closed the connection", "it does not speak HTTP")
    long = Target("x" * 70 + ".example.com")
    with site(tmp_path) as way:
        assert look(way, long).stopped == "tls"


def test_plain_http_is_looked_at_if_it_answers(tmp_path: Path) -> None:
    """With --connect only if --connect-http says; a port at which nothing answers is fine."""
    with ExitStack() as running:
        way = running.enter_context(site(tmp_path))
        sends = running.enter_context(Server(answer(f"{PKP}: a")))
        free = socket.create_server(("127.0.0.1", 0))
        refused = free.getsockname()
        free.close()
        for address, headers in ((sends, ((PKP, "a"),)), (refused, ())):
            _, plain = probe.look([TARGET], Way(way.tls, address, ca_file=way.ca_file))
            assert plain == [HttpObservation(NAME, headers)]
        assert look(way).headers == ((PKP, "one"),)


def test_many_hosts_are_looked_at_together() -> None:
    """Fifty that never answer are over by one time limit, not fifty: all wait at the same time."""
    together = threading.Barrier(50)

    def meet(connection: socket.socket, ended: threading.Event) -> None:
        with suppress(threading.BrokenBarrierError):
            together.wait(20)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    targets = [Target(f"www{number}.example.com") for number in range(50)]
    with Server(meet) as address:
        _, plain = probe.look(targets, Way(("127.0.0.1", 1), address))
    assert [one.host for one in plain] == [target.name for target in targets]
    assert not together.broken


def test_bad_roots_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    """Missing, or no certificates."""
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing\n")
    for path in (empty, tmp_path / "missing.pem"):
        with pytest.raises(PinkeepError, match=f"--ca-file '{path}'"):
            probe.look([TARGET], Way(ca_file=str(path)))


def test_glance_sees_key_and_headers_of_any_chain(tmp_path: Path) -> None:
    """Before a host is pinned, it counts whose key it proves, not who trusts it."""
    with Server(answer(f"{PKP}: a", f"{PKP}: b"), context(tmp_path, (EC_KEY, cert()))) as address:
        (shown,) = no_network.glance([NAME], address)
    assert shown.certificate is not None
    assert shown.headers == ((PKP, "a"), (PKP, "b")) and not shown.stopped


@pytest.mark.parametrize("serve", [dribble, say_nothing])
def test_glance_has_a_time_limit_for_all_of_it(tmp_path: Path, serve: Answering) -> None:
    """A server that is slow on purpose costs no more than that."""
    with Server(serve, context(tmp_path, (EC_KEY, cert()))) as address:
        (shown,) = no_network.glance([NAME], address, SHORT)
    assert shown.error == "it took longer than 0.3 seconds"


def test_glance_at_what_does_not_answer_says_so(tmp_path: Path) -> None:
    """No server, no TLS, no such name."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    (gone,) = no_network.glance([NAME], ("127.0.0.1", port))
    with Server(answer()) as address:
        (plain,) = no_network.glance([NAME], address, SHORT)
    (unknown,) = no_network.glance(["no.such.invalid"], ("no.such.invalid", 443))
    found = [one.stopped for one in (gone, plain, unknown)]
    assert found == ["unreachable", "slow", "unreachable"]
    assert no_network.glance([]) == []


def test_nothing_to_look_at_is_fine() -> None:
    """A keyring without hosts."""
    assert probe.look([], Way()) == ([], [])
