"""What a connection gets to see: every pin header, as it was sent, and the certificate's key."""

from __future__ import annotations

import base64
import hashlib
import http.client
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from socket import create_connection

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lab.waiting import HOST

PINS = "Public-Key-Pins"
PINS_REPORT_ONLY = "Public-Key-Pins-Report-Only"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: its status, and each header as often as it was sent."""

    status: int
    headers: tuple[tuple[str, str], ...]

    def all(self, name: str) -> list[str]:
        """The values of every header of that name."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def pins(self) -> list[str]:
        """Every ``Public-Key-Pins`` header."""
        return self.all(PINS)

    @property
    def pins_report_only(self) -> list[str]:
        """Every ``Public-Key-Pins-Report-Only`` header."""
        return self.all(PINS_REPORT_ONLY)


def get(name: str, port: int, path: str = "/", host: str = "") -> Answer:
    """Ask over TLS, with ``name`` as SNI, and *host* as Host. Whether to trust the certificate is for
    others to judge."""
    with _tls(name, port) as connection:
        return _ask(connection, name, port, path, host)


def get_plain(name: str, port: int, path: str = "/") -> Answer:
    """Ask over plain HTTP."""
    with create_connection((HOST, port), timeout=10) as connection:
        return _ask(connection, name, port, path)


def served_certificate(name: str, port: int) -> x509.Certificate:
    """The certificate that a TLS connection for ``name`` gets."""
    with _tls(name, port) as connection:
        der = connection.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der)


def served_pin(name: str, port: int) -> str:
    """The pin of the key that a TLS connection for ``name`` gets."""
    return pin_of(served_certificate(name, port))


def served_serial(name: str, port: int) -> int:
    """The serial number of the certificate that a TLS connection for ``name`` gets."""
    return served_certificate(name, port).serial_number


def pin_of(certificate: x509.Certificate) -> str:
    """The pin (RFC 7469 section 2.4), worked out here without the plugin's own code."""
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()


@contextmanager
def _tls(name: str, port: int) -> Iterator[ssl.SSLSocket]:
    # Without the machine's roots, which take time to load and judge nothing here.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        create_connection((HOST, port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=name) as connection,
    ):
        yield connection


def _ask(connection: object, name: str, port: int, path: str, host: str = "") -> Answer:
    client = http.client.HTTPConnection(name, port)
    client.sock = connection
    headers = {"Connection": "close", **({"Host": host} if host else {})}
    client.request("GET", path, headers=headers)
    answer = client.getresponse()
    answer.read()
    return Answer(answer.status, tuple(answer.getheaders()))
