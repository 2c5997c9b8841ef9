"""Real mail servers: which keys pinkeep sees at their ports, and what other clients say of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from hashlib import sha256, sha512
from pathlib import Path

import pytest

from certbot_pinkeep.adapters import ports
from certbot_pinkeep.carriers import running
from certbot_pinkeep.core import dane
from certbot_pinkeep.core.dane import Certificate
from certbot_pinkeep.core.pins import pin_of_certificate
from certbot_pinkeep.core.tlsa import Port, TlsaRecord, parse_ports, ports_of, record_of
from certbot_pinkeep.core.zone_observations import PortObservation
from dane.world import FIRST, HOST, Network, example, line
from lab import wait_for
from lab.mail import Dovecot, Files, Postfix, listens, self_signed

SMTP, MAIL = "25,465,587", "993,143,995,110"
HERE = "127.0.0.1"
#: Two processes behind one address, as servers with several workers have them.
TWO = """
import socket, ssl, sys, threading
def serve(listener, context):
    while True:
        try:
            with context.wrap_socket(listener.accept()[0], server_side=True) as one:
                one.recv(1)
        except OSError:
            pass
for full, key in (sys.argv[1:3], sys.argv[3:5]):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(full, key)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", 993))
    listener.listen()
    threading.Thread(target=serve, args=(listener, context)).start()
"""


class Mail:
    """A machine with Postfix and Dovecot, which read the live certificates of a lineage."""

    def __init__(self, world: Network) -> None:
        self.world = world
        self.live = world.folder / "live"
        self.files = [self.issue(kind) for kind in ("ecdsa", "rsa")]
        self.postfix = Postfix(world.ns, world.folder / "postfix", self.files)
        self.dovecot = Dovecot(world.ns, world.folder / "dovecot", self.files)

    def issue(self, kind: str, name: str = "") -> Files:
        """Make a new key and certificate, in place of what is there."""
        return self_signed(self.live / (name or kind), HOST, kind)

    def pins(self) -> list[str]:
        """The pins of the live certificates, sorted."""
        return sorted(pin_of_certificate(full.read_bytes()) for full, _ in self.files)

    def look(self, numbers: str = f"{SMTP},{MAIL}") -> dict[int, PortObservation]:
        """Look at ports as pinkeep does."""
        chosen = ports_of(parse_ports(numbers), [HOST])
        shown = self.world.ns.call(ports.look, chosen, addresses={HOST: [HERE]})
        return {one.port.number: one for one in shown}

    def seen(self, numbers: str = f"{SMTP},{MAIL}") -> dict[int, list[str]]:
        """The pins that are seen at ports, sorted; nothing may be unseen."""
        shown = self.look(numbers)
        assert not [one.error for one in shown.values() if one.error]
        return {number: sorted(one.pins) for number, one in shown.items()}

    def accepted(self, pin: str, port: int, start: str = "") -> bool:
        """Whether OpenSSL accepts the key at a port by its TLSA record."""
        words = ["openssl", "s_client", "-connect", f"{HERE}:{port}", "-verify_return_error"]
        words += ["-dane_tlsa_domain", HOST, "-dane_tlsa_rrdata", str(record_of(pin))]
        words += ["-sigalgs", "ECDSA+SHA256:RSA-PSS+SHA256:RSA+SHA256", "-brief"]
        words += ["-starttls", start] if start else []
        return self.world.ns.run(words).returncode == 0


@pytest.fixture
def mail(world: Network) -> Iterator[Mail]:
    """Both servers run."""
    made = Mail(world)
    with made.postfix, made.dovecot:
        yield made


def test_g13_the_keys_of_mail_servers_are_seen_at_every_port(mail: Mail) -> None:
    """Of both types, however TLS starts; OpenSSL accepts what is seen, and nothing else."""
    assert mail.seen() == dict.fromkeys(mail.look(), mail.pins())
    shown = mail.pins()
    for port, start in ((25, "smtp"), (465, ""), (143, "imap"), (110, "pop3"), (993, "")):
        assert any(mail.accepted(pin, port, start) for pin in shown), port
    other, _ = mail.issue("ecdsa", "other")
    assert not mail.accepted(pin_of_certificate(other.read_bytes()), 25, "smtp")


def test_g13_a_server_that_was_not_reloaded_is_seen(mail: Mail) -> None:
    """Postfix has the new keys, Dovecot the old ones, until it is told as well. Postfix reads them
    whenever it starts a process, so it may show both until it is reloaded."""
    old = mail.pins()
    assert mail.seen() == dict.fromkeys(
        mail.look(), old
    )  # Dovecot reads them when it is first asked
    for kind in ("ecdsa", "rsa"):
        mail.issue(kind)
    assert all(set(pins) <= {*old, *mail.pins()} for pins in mail.seen(SMTP).values())
    mail.postfix.reload()
    expected = {port: mail.pins() if port in (25, 465, 587) else old for port in mail.look()}
    # An old process of a server may take one more connection after the reload.
    wait_for(lambda: mail.seen() == expected, "Postfix's new keys, and Dovecot's old ones")
    mail.dovecot.reload()
    expected = dict.fromkeys(expected, mail.pins())
    wait_for(lambda: mail.seen() == expected, "Dovecot's new keys")


def test_g12_a_mail_server_that_does_not_run_is_not_reloaded(world: Network) -> None:
    """Its own program tells. It loads the certificate when it starts."""
    made = Mail(world)
    servers = (made.postfix, made.dovecot)

    def stopped() -> list[bool]:
        return [world.ns.call(running.is_stopped, one.reload_words) for one in servers]

    assert stopped() == [True, True]
    with made.postfix, made.dovecot:
        assert stopped() == [False, False]


def test_g13_what_cannot_be_seen_is_told(world: Network) -> None:
    """A port without STARTTLS, and one where nobody listens; the others are seen all the same."""
    made = Mail(world)
    made.postfix = Postfix(
        world.ns,
        world.folder / "postfix",
        made.files,
        submission="-o smtpd_tls_security_level=none",
    )
    with made.postfix:
        shown = made.look("25,587,993")
    assert {number: one.error for number, one in shown.items()} == {
        25: "",
        587: "it does not offer STARTTLS",
        993: "Connection refused",
    }


def test_g13_a_stale_process_behind_the_same_address_is_seen(world: Network) -> None:
    """The kernel chooses one of them for each connection."""
    old, new = (self_signed(world.folder / name, HOST, "ecdsa") for name in ("old", "new"))
    pins = {pin_of_certificate(full.read_bytes()) for full, _ in (old, new)}
    words = [sys.executable, "-c", TWO, *map(str, (*old, *new))]
    daemon = world.ns.start(words, world.folder / "two.log")
    try:
        listens(world.ns, 993)
        (shown,) = world.ns.call(ports.look, [Port(HOST, 993)], addresses={HOST: [HERE]})
    finally:
        daemon.stop()
    assert set(shown.pins) == pins and not shown.error


def test_a_mail_server_that_uses_dane_accepts_what_is_seen(world: Network) -> None:
    """posttls-finger asks the zone, as Postfix does before it delivers: 3 1 1 current, 3 1 1 next."""
    made = Mail(world)
    spare, _ = made.issue("ecdsa", "spare")
    spare_pin = pin_of_certificate(spare.read_bytes())
    records = [line(record_of(pin)) for pin in (*made.pins(), spare_pin)]
    zone = example("mail A 127.0.0.1", "@ MX 10 mail", *records)
    key = world.signer.make(zone.origin)
    world.serve(FIRST, (zone, world.signer.sign(zone, key)))
    world.open(zone, ds=[world.signer.ds(key)])
    with made.postfix:
        assert made.seen("25")[25] == made.pins()
        assert verified(world)
        for kind in ("ecdsa", "rsa"):
            made.issue(kind)
        made.postfix.reload()
        wait_for(lambda: not verified(world), "posttls-finger to refuse the new keys")


def record(kind: str, one: Certificate) -> TlsaRecord:
    """A record of a kind such as ``3 1 1`` for a certificate."""
    usage, selector, matching = map(int, kind.split())
    data = one.key if selector else one.whole
    written = [data.hex(), sha256(data).hexdigest(), sha512(data).hexdigest()]
    return TlsaRecord(usage, selector, matching, written[matching])


#: Kinds of records for the server's own certificate, for its authority's, and for another one's; and what
#: clients do.
KINDS: list[tuple[str, str, str, str]] = [
    ("3 1 1", "", "", "accepted"),
    ("3 1 2,3 0 1,3 0 2,3 1 0,3 0 0", "", "", "accepted"),
    ("", "2 1 1", "", "accepted"),
    ("", "2 0 1", "3 1 1", "accepted"),
    ("", "", "3 1 1", "refused"),
    ("", "", "2 1 1", "refused"),
    ("3 1 1", "", "3 1 2", "refused"),
    ("3 1 0", "", "3 1 2", "accepted"),
    ("3 1 1", "", "3 0 2,2 1 2", "accepted"),
    ("", "3 1 1", "", "refused"),
    ("2 1 1", "", "", "refused"),
]


def test_g2_openssl_does_with_records_what_pinkeep_says(world: Network) -> None:
    """A server with an authority's certificate beside its own: each of these sets of records is judged."""
    authority, own = (self_signed(world.folder / one, one, "ecdsa") for one in ("ca.test", HOST))
    chain = signed_by(world, authority, own)
    words = ["openssl", "s_server", "-quiet", "-accept", f"{HERE}:993", "-cert", str(chain)]
    words += ["-key", str(own[1]), "-cert_chain", str(authority[0])]
    daemon = world.ns.start(words, world.folder / "server.log")
    try:
        listens(world.ns, 993)
        port = Port(HOST, 993)
        (shown,) = world.ns.call(ports.look, [port], addresses={HOST: [HERE]})
        ((mine, ca),) = shown.chains
        other = Certificate("", b"another key", b"another certificate")
        for *kinds, expected in KINDS:
            records = [
                record(kind, one)
                for some, one in zip(kinds, (mine, ca, other), strict=True)
                for kind in filter(None, some.split(","))
            ]
            found = dane.verdict(records, (mine, ca))
            assert (found, openssl_accepts(world, records)) == (expected, expected == "accepted")
    finally:
        daemon.stop()


def signed_by(world: Network, authority: Files, own: Files) -> Path:
    """Have an authority sign a certificate for the key of another one, and return the file."""
    file, request = world.folder / "signed.pem", world.folder / "request.pem"
    extensions = world.folder / "extensions"
    extensions.write_text(f"subjectAltName=DNS:{HOST}\n")
    key = str(own[1])
    world.ns.run(
        ["openssl", "req", "-new", "-key", key, "-subj", f"/CN={HOST}", "-out", str(request)]
    ).check()
    words = ["openssl", "x509", "-req", "-in", str(request), "-days", "9", "-out", str(file)]
    words += ["-CA", str(authority[0]), "-CAkey", str(authority[1]), "-extfile", str(extensions)]
    world.ns.run(words).check()
    return file


def openssl_accepts(world: Network, records: list[TlsaRecord]) -> bool:
    """Whether OpenSSL accepts the server by these records."""
    words = ["openssl", "s_client", "-connect", f"{HERE}:993", "-verify_return_error", "-brief"]
    words += ["-dane_tlsa_domain", HOST]
    for one in records:
        words += ["-dane_tlsa_rrdata", str(one)]
    return world.ns.run(words).returncode == 0


def verified(world: Network) -> bool:
    """Whether posttls-finger finds the key of the host's port 25 in the zone."""
    words = ["posttls-finger", "-t30", "-T180", "-c", "-l", "dane", "-L", "summary", f"[{HOST}]"]
    return "Verified TLS connection established" in world.ns.run(words).output
