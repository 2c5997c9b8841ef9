"""Small TLS servers of our own, on free ports of this machine, and the addresses that names have."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from certbot_pinkeep.core.pem import load_private_key
from simulated.values import DAY, make_pem, named, pem_of, to_sign

NAME = "example.com"
TODAY = datetime.now(timezone.utc)
EC_KEY, RSA_KEY = make_pem(), pem_of(rsa.generate_private_key(65537, 2048))
#: The time limit of looks that are to reach it; no test depends on how long it is.
SHORT = 0.3

Answering = Callable[[socket.socket, threading.Event], None]


def say_nothing(connection: socket.socket, ended: threading.Event) -> None:
    """A server that takes connections, and that is all."""
    ended.wait()


@dataclass
class Server:
    """A server on a free port, for several connections at once."""

    serve: Answering
    context: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    port: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> tuple[str, int]:
        self.listener = socket.create_server((self.host, self.port))
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()
        host, port = self.listener.getsockname()
        return host, port

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                thread = threading.Thread(target=self._answer, args=[connection])
                thread.start()
                self.threads.append(thread)

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            if self.context is None:
                self.serve(connection, self.ended)
                return
            with self.context.wrap_socket(connection, server_side=True) as inner:
                self.serve(inner, self.ended)


def context(tmp_path: Path, *certificates: tuple[bytes, bytes]) -> ssl.SSLContext:
    """A server's, with these keys and certificates."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for number, (key, cert) in enumerate(certificates):
        path = tmp_path / f"server-{number}.pem"
        path.write_bytes(key + cert)
        made.load_cert_chain(path)
    return made


def cert(key: bytes = EC_KEY, name: str = NAME, start: datetime = TODAY - DAY) -> bytes:
    """A certificate that is its own root."""
    signer = load_private_key(key)
    built = to_sign(signer.public_key(), [name], start, named(name), named(name))
    return built.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def der(pem: bytes) -> bytes:
    """It in DER."""
    return x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)


@dataclass
class Addresses:
    """The addresses of every name."""

    known: list[tuple[str, int]]
    family: int = socket.AF_INET

    def resolve(self, *_: object, **__: object) -> list[tuple[Any, ...]]:
        """As the system's resolver."""
        return [(self.family, socket.SOCK_STREAM, 6, "", one) for one in self.known]


def free_port() -> tuple[str, int]:
    """An address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        host, port = free.getsockname()
        return host, port
