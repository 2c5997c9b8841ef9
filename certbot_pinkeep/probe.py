"""What hosts show over TLS and plain HTTP, seen from here.

The rules:

* Each look has a time limit for all of it, also against a server that sends a byte now and then, and
  a name server that does not answer. Hosts are looked at together.
* The certificate is looked at whether it is trusted or not; whether it is, is told. A client verifies
  first, so do we: only where that fails, a second connection shows the certificate.
* A host with certificates of two key types is looked at once for each, with the ciphers of TLS 1.2,
  which choose between them.
* Headers are read as they were sent: two equal ones are two. The body is left unread.
* A port for plain HTTP where nothing answers is a fine one.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from certbot_pinkeep.checks.seen import Headers, Plain, Shown, Stopped, Target
from certbot_pinkeep.errors import PinkeepError
from certbot_pinkeep.pins import KeyType
from certbot_pinkeep.policy import ENFORCED, REPORT_ONLY

_TOGETHER = 64
_LARGEST = 1 << 16
_CIPHERS: dict[KeyType, str] = {"rsa": "aRSA", "ecdsa": "aECDSA"}
# OpenSSL's X509_V_ERR_...: not yet valid, expired, another name. The certificate itself tells these.
_TOLD_ELSEWHERE = (9, 10, 62)
_ABSENT = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
_Address = tuple[Any, ...]


@dataclass(frozen=True)
class Way:
    """How hosts are reached.

    :ivar tls: host and port to connect to for every host; ``None``: the host itself, port 443
    :ivar plain: the same for plain HTTP; ``None``: the host itself, port 80, unless ``tls`` is given
    :ivar seconds: the time limit of each look
    :ivar ca_file: further roots to trust, in PEM; ``None``: none
    """

    tls: tuple[str, int] | None = None
    plain: tuple[str, int] | None = None
    seconds: float = 10.0
    ca_file: str | None = None


class _Stop(Exception):
    """A look that ends early."""

    def __init__(self, stopped: Stopped, error: str, absent: bool = False) -> None:
        super().__init__(error)
        self.stopped = stopped
        self.error = error
        self.absent = absent


class _Deadline:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds.

        :raises TimeoutError: when none are left
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def why(self, error: Exception) -> str:
        """What an error says, as a part of a sentence."""
        if isinstance(error, TimeoutError):
            return f"it took longer than {self._seconds:g} seconds"
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        if isinstance(error, ssl.SSLError):
            return (error.reason or str(error)).replace("_", " ").lower()
        return str(getattr(error, "strerror", None) or error or type(error).__name__)


def look(targets: Sequence[Target], way: Way) -> tuple[list[Shown], list[Plain]]:
    """Look at all targets at once.

    :returns: what each showed over TLS, in their order, one of several key types several times; and
        over plain HTTP, where that was looked at. One that does not exist, and need not, is left out.
    :raises PinkeepError: when the file of roots cannot be read
    """
    wanted = [(target, kind) for target in targets for kind in target.key_types or (None,)]
    asked = [target for target in targets if way.tls is None or way.plain is not None]
    contexts = {kind: _context(kind, way.ca_file) for kind in {kind for _, kind in wanted} | {None}}
    with _pool(min(_TOGETHER, len(wanted) + len(asked)) or 1) as pool:
        shown = [pool.submit(_over_tls, target, kind, way, contexts) for target, kind in wanted]
        plain = [pool.submit(_over_http, target, way) for target in asked]
        seen = [future.result() for future in shown]
        return [one for one in seen if one is not None], [future.result() for future in plain]


@contextmanager
def _pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that nobody who interrupts it waits for."""
    pool = ThreadPoolExecutor(threads)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _context(kind: KeyType | None, ca_file: str | None) -> ssl.SSLContext:
    """One that verifies."""
    # Not the default one, which is stricter than clients are, from Python 3.13 on.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise PinkeepError(
                f"--ca-file {ca_file!r}: it cannot be read as certificates in PEM "
                f"({error.strerror or error})."
            ) from error
    return _restricted(context, kind)


def _blind(kind: KeyType | None) -> ssl.SSLContext:
    """One that looks at any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return _restricted(context, kind)


def _restricted(context: ssl.SSLContext, kind: KeyType | None) -> ssl.SSLContext:
    if kind is not None:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS[kind])
    return context


def _over_tls(
    target: Target,
    kind: KeyType | None,
    way: Way,
    contexts: Mapping[KeyType | None, ssl.SSLContext],
) -> Shown | None:
    deadline = _Deadline(way.seconds)
    shown = Shown(target.name)
    try:
        connection, untrusted = _handshake(target, kind, way, contexts, deadline)
        with connection:
            shown = replace(
                shown, certificate=connection.getpeercert(binary_form=True), untrusted=untrusted
            )
            return replace(shown, headers=_ask(connection, target.name, deadline))
    except _Stop as stop:
        if stop.absent and target.optional:
            return None
        return replace(shown, stopped=stop.stopped, error=stop.error)


def _handshake(
    target: Target,
    kind: KeyType | None,
    way: Way,
    contexts: Mapping[KeyType | None, ssl.SSLContext],
    deadline: _Deadline,
) -> tuple[ssl.SSLSocket, str]:
    """A connection, and why its certificate is not trusted.

    :raises _Stop: where none comes about
    """
    address = way.tls or (target.name, 443)
    try:
        return _wrapped(target, address, contexts[kind], deadline), ""
    except ssl.SSLCertVerificationError as error:
        untrusted = "" if error.verify_code in _TOLD_ELSEWHERE else deadline.why(error)
    except ssl.SSLError as error:
        if kind is not None and "PROTOCOL_VERSION" in (error.reason or ""):
            # Without TLS 1.2 the server itself chooses which certificate it shows.
            return _handshake(target, None, way, contexts, deadline)
        raise _Stop("tls", deadline.why(error)) from error
    except OSError as error:  # TimeoutError is one
        raise _Stop("tls", deadline.why(error)) from error
    try:
        return _wrapped(target, address, _blind(kind), deadline), untrusted
    except OSError as error:
        raise _Stop("tls", deadline.why(error)) from error


def _wrapped(
    target: Target, address: tuple[str, int], context: ssl.SSLContext, deadline: _Deadline
) -> ssl.SSLSocket:
    plain = _connected(address, deadline)
    try:
        plain.settimeout(deadline.left())  # for the whole handshake
        return context.wrap_socket(plain, server_hostname=target.name)
    except UnicodeError as error:
        plain.close()
        raise _Stop("tls", f"that is no host's name ({error})") from error
    except BaseException:
        plain.close()
        raise


def _over_http(target: Target, way: Way) -> Plain:
    deadline = _Deadline(way.seconds)
    with suppress(_Stop), _connected(way.plain or (target.name, 80), deadline) as connection:
        return Plain(target.name, _ask(connection, target.name, deadline))
    return Plain(target.name)


def _connected(address: tuple[str, int], deadline: _Deadline) -> socket.socket:
    """A connection to the first of its addresses that takes one.

    :raises _Stop: where none does
    """
    why = "it has no address"
    for family, kind, protocol, _, where in _resolved(address, deadline):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(deadline.left())
            connection.connect(where)
            return connection
        except OSError as error:
            connection.close()
            why = deadline.why(error)
    raise _Stop("unreachable", f"{address[0]}, port {address[1]}: {why}")


def _resolved(address: tuple[str, int], deadline: _Deadline) -> list[_Address]:
    """The addresses of a name.

    :raises _Stop: where there are none, in time
    """
    found: list[_Address] = []
    failed: list[Exception] = []

    def ask() -> None:
        try:
            found.extend(socket.getaddrinfo(*address, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            failed.append(error)

    # The system's resolver takes no time limit, so it is left behind when ours is over.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    with suppress(TimeoutError):
        asking.join(deadline.left())
    if found:
        return list(found)
    error = failed[0] if failed else TimeoutError()
    absent = isinstance(error, socket.gaierror) and error.errno in _ABSENT
    raise _Stop("unreachable", f"{address[0]}: {deadline.why(error)}", absent)


def _ask(connection: socket.socket, host: str, deadline: _Deadline) -> Headers:
    """The pin headers of the page at ``/``.

    :raises _Stop: when no whole answer comes
    """
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: certbot-pinkeep\r\n"
    received = b""
    try:
        connection.settimeout(deadline.left())
        connection.sendall(f"{request}Connection: close\r\n\r\n".encode("ascii"))
        while b"\r\n\r\n" not in received:
            connection.settimeout(deadline.left())
            part = connection.recv(_LARGEST)
            received += part
            if not part or len(received) > _LARGEST:
                raise http.client.HTTPException("it sent no whole HTTP header")
        status, _, rest = received.partition(b"\r\n")
        if not status.startswith(b"HTTP/"):
            raise http.client.HTTPException("it does not speak HTTP")
        headers = http.client.parse_headers(io.BytesIO(rest))
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        raise _Stop("http", deadline.why(error)) from error
    names = (ENFORCED.lower(), REPORT_ONLY.lower())
    return tuple((name, value) for name, value in headers.items() if name.lower() in names)
