"""What hosts show over TLS and plain HTTP, seen from here.

The rules:

* Each look has a time limit for all of it (see ``tls``). Hosts are looked at together.
* Every address of a host is looked at: another server may answer at each. An address that takes no connection
  counts only if none takes one: clients go on to the next (RFC 8305).
* The certificate is looked at whether it is trusted or not; whether it is, is told. A client verifies first,
  so do we: only if that fails, a second connection shows the certificate.
* A server may have a certificate of each key type beside the one that it shows first. A look finds each with
  the ciphers of TLS 1.2, which choose between them; with TLS 1.3 alone the server chooses.
* A name that is only guessed at, for a wildcard, may not exist. Then it is left out, unless there is no other
  one.
* Headers are read as they were sent: two equal ones are two, interim answers (RFC 9110 §15.2) and
  lines that are no headers are passed over. The body is left unread.
* Before a host is pinned, a glance is enough: its header at each address, whatever chain it shows.
* If nothing answers at the port for plain HTTP, that is fine.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from certbot_pinkeep.adapters import tls
from certbot_pinkeep.adapters.threads import Pool, results
from certbot_pinkeep.adapters.tls import Address, Deadline
from certbot_pinkeep.core.errors import PinkeepError
from certbot_pinkeep.core.kinds import KeyType
from certbot_pinkeep.core.observations import (
    Distrust,
    Headers,
    HttpObservation,
    Stopped,
    Target,
    TlsObservation,
)
from certbot_pinkeep.core.policy import ENFORCED, REPORT_ONLY
from certbot_pinkeep.storage import atomic

_LARGEST = 1 << 16
#: Seconds.
_LOOK = 2.0
# OpenSSL's X509_V_ERR_...
_DISTRUST: dict[int, Distrust] = {9: "time", 10: "time", 62: "name"}
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_INTERIM = re.compile(rb"HTTP/[0-9.]+ 1(?!01)[0-9][0-9]\b")
_Contexts = Mapping[KeyType | None, ssl.SSLContext]


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


@dataclass(frozen=True)
class _Spot:
    """A host at one of its addresses.

    :ivar address: as :func:`socket.getaddrinfo` has it
    """

    target: Target
    address: Address

    @property
    def place(self) -> str:
        """The address, to be told."""
        return str(self.address[4][0])


def look(targets: Sequence[Target], way: Way) -> tuple[list[TlsObservation], list[HttpObservation]]:
    """Look at all targets at once.

    :returns: what each showed over TLS, in their order: once for each certificate, and for each address
        that differs. Then what each showed over plain HTTP, if that was looked at. A target that does not
        exist, and need not, is left out.
    :raises PinkeepError: if the file of roots cannot be read
    """
    contexts = _contexts(way.ca_file)
    asked = [target for target in targets if way.tls is None or way.plain is not None]
    with Pool() as pool:
        spots = [pool.submit(_spots, target, way) for target in targets]
        plain_spots = [pool.submit(_plain_spots, target, way) for target in asked]
        looks = [
            ([pool.submit(_at, spot, way, contexts) for spot in some], failed)
            for some, failed in results(spots)
        ]
        plain = [
            [pool.submit(_over_http, spot, way) for spot in some] for some in results(plain_spots)
        ]
        shown = [one for some, failed in looks for one in (*failed, *_as_one(results(some)))]
        sent = [next((one for one in results(some) if one), ()) for some in plain]
        return shown, [
            HttpObservation(one.name, headers) for one, headers in zip(asked, sent, strict=True)
        ]


def glance(
    names: Sequence[str], connect: tuple[str, int] | None = None, seconds: float = _LOOK
) -> list[TlsObservation]:
    """Return what hosts show first over TLS: key and headers, whether this machine trusts them or not.

    :param connect: host and port to connect to for every host; ``None``: the host itself, port 443
    :param seconds: the time limit for finding the hosts, and again for looking at them
    :returns: several for a host that has several addresses
    """
    way = Way(connect, None, seconds)
    with Pool() as pool:
        spots = results([pool.submit(_spots, Target(name), way) for name in names])
        blind = {None: tls.blind(None)}
        looks = [
            pool.submit(_over_tls, spot, None, way, blind) for some, _ in spots for spot in some
        ]
        return [*(one for _, failed in spots for one in failed), *results(looks)]


def _as_one(places: list[list[TlsObservation]]) -> list[TlsObservation]:
    """Return what a host showed at its addresses: once, if all that answered showed the same."""
    answered = [some for some in places if some[0].stopped != "unreachable"]
    if not answered:
        return [replace(some[0], address="") for some in places[:1]]
    where: dict[TlsObservation, list[str]] = {}
    for one in (one for some in answered for one in some):
        where.setdefault(replace(one, address=""), []).append(one.address)
    return [
        one if len(addresses) == len(answered) else replace(one, address=", ".join(addresses))
        for one, addresses in where.items()
    ]


def _contexts(ca_file: str | None) -> _Contexts:
    """Return those that verify, by the key type that they ask for.

    :raises PinkeepError: if the file of roots cannot be read
    """
    kinds: tuple[KeyType | None, ...] = (None, *tls.CIPHERS)
    return {kind: _context(kind, ca_file) for kind in kinds}


def _context(kind: KeyType | None, ca_file: str | None) -> ssl.SSLContext:
    """Return one that verifies."""
    # Not the default one, which is stricter than clients are, from Python 3.13 on.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    if ca_file is not None:
        try:
            # Not by its name: the library would wait for a FIFO. Certificates in PEM are ASCII; what
            # stands between them need not be.
            roots = atomic.read(ca_file, atomic.LARGEST).decode("ascii", "ignore")
            context.load_verify_locations(cadata=roots)
        except OSError as error:  # ssl.SSLError is one
            raise PinkeepError(
                f"--ca-file {ca_file!r}: it cannot be read as certificates in PEM "
                f"({error.strerror or error})."
            ) from error
    return tls.restricted(context, kind)


def _spots(target: Target, way: Way) -> tuple[list[_Spot], list[TlsObservation]]:
    """Return where a host is to be looked at; if it cannot be, what is known already."""
    if target.optional and way.tls is not None:
        try:
            tls.resolved(target.name, way.tls[1], Deadline(way.seconds))
        except tls.Ended as end:
            if end.absent:
                return [], []
    try:
        return _spots_at(target, way.tls or (target.name, 443), way), []
    except tls.Ended as end:
        if end.absent and target.optional:
            return [], []
        return [], [_shown(target, stopped=end.stopped, error=str(end))]


def _plain_spots(target: Target, way: Way) -> list[_Spot]:
    """Return where a host is to be looked at over plain HTTP."""
    with suppress(tls.Ended):
        return _spots_at(target, way.plain or (target.name, 80), way)
    return []


def _spots_at(target: Target, place: tuple[str, int], way: Way) -> list[_Spot]:
    return [_Spot(target, one) for one in tls.resolved(*place, Deadline(way.seconds))]


def _shown(target: Target, **more: Any) -> TlsObservation:
    return TlsObservation(target.name, guessed=target.guessed, **more)


def _at(spot: _Spot, way: Way, contexts: _Contexts) -> list[TlsObservation]:
    """Return what a host shows at one address: what it shows first, and its other certificates."""
    first = _over_tls(spot, None, way, contexts)
    if first.certificate is None:
        return [first]
    others = [_over_tls(spot, kind, way, contexts, first.certificate) for kind in tls.CIPHERS]
    return [
        first,
        *(
            one
            for one in others
            if one.certificate not in (None, first.certificate)
            or (one.stopped == "type" and one.key_type in spot.target.key_types)
        ),
    ]


def _over_tls(
    spot: _Spot,
    kind: KeyType | None,
    way: Way,
    contexts: _Contexts,
    known: bytes | None = None,
) -> TlsObservation:
    """Return what a host shows, with a certificate of a type of key; the headers, with another
    certificate than the *known* one."""
    deadline = Deadline(way.seconds)
    shown = _shown(spot.target, address=spot.place, key_type=kind)
    try:
        connection, distrust, untrusted = _handshake(spot, kind, contexts, deadline)
        with connection:
            shown = replace(
                shown,
                certificate=connection.getpeercert(binary_form=True),
                distrust=distrust,
                untrusted=untrusted,
            )
            if shown.certificate == known:
                return shown
            return replace(shown, headers=_ask(connection, spot.target.name, deadline))
    except tls.Ended as end:
        return replace(shown, stopped=end.stopped, error=str(end))
    except OSError as error:  # ssl.SSLError and TimeoutError are such
        lacks = kind is not None and tls.lacks_type(error)
        stopped: Stopped = "type" if lacks else "tls"
        stopped = "slow" if isinstance(error, TimeoutError) else stopped
        return replace(shown, stopped=stopped, error=deadline.why(error))


def _handshake(
    spot: _Spot, kind: KeyType | None, contexts: _Contexts, deadline: Deadline
) -> tuple[ssl.SSLSocket, Distrust, str]:
    """Return a connection, and why its certificate is not trusted.

    :raises Ended, OSError: if none comes about
    """
    try:
        return _wrapped(spot, contexts[kind], deadline), "", ""
    except ssl.SSLCertVerificationError as error:
        distrust = _DISTRUST.get(error.verify_code, "chain")
        return _wrapped(spot, tls.blind(kind), deadline), distrust, deadline.why(error)


def _wrapped(spot: _Spot, context: ssl.SSLContext, deadline: Deadline) -> ssl.SSLSocket:
    with _connected(spot, deadline) as plain:
        plain.settimeout(deadline.left())  # for the whole handshake
        try:
            return context.wrap_socket(plain, server_hostname=spot.target.name)
        except UnicodeError as error:
            raise tls.Ended("tls", f"that is no host's name ({error})") from error


def _over_http(spot: _Spot, way: Way) -> Headers:
    deadline = Deadline(way.seconds)
    with suppress(tls.Ended), _connected(spot, deadline) as connection:
        return _ask(connection, spot.target.name, deadline)
    return ()


def _connected(spot: _Spot, deadline: Deadline) -> socket.socket:
    """Return a connection to an address.

    :raises Ended: if it takes none
    """
    try:
        return tls.connected(spot.address, deadline)
    except OSError as error:
        why = f"{spot.place}, port {spot.address[4][1]}: {deadline.why(error)}"
        raise tls.Ended("unreachable", why) from error


def _ask(connection: socket.socket, host: str, deadline: Deadline) -> Headers:
    """Return the pin headers of the page at ``/``.

    :raises Ended: if no whole answer comes
    """
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: certbot-pinkeep\r\n"
    try:
        connection.settimeout(deadline.left())
        connection.sendall(f"{request}Connection: close\r\n\r\n".encode("ascii"))
        return _pin_headers(_head(connection, deadline))
    except (OSError, UnicodeError) as error:
        raise tls.Ended("http", deadline.why(error)) from error


def _head(connection: socket.socket, deadline: Deadline) -> bytes:
    """Return the status line and headers of the first answer that is not an interim one.

    :raises Ended: if it is no HTTP
    :raises OSError: if it does not come
    """
    received = b""
    while True:
        while not (end := _BLANK_LINE.search(received)):
            connection.settimeout(deadline.left())
            part = connection.recv(_LARGEST)
            received += part
            if not received:
                raise tls.Ended("http", "it closed the connection")
            if not part or len(received) > _LARGEST:
                raise tls.Ended("http", "it sent no whole HTTP header")
        head, received = received[: end.start()], received[end.end() :]
        if not head.startswith(b"HTTP/"):
            raise tls.Ended("http", "it does not speak HTTP")
        if not _INTERIM.match(head):
            return head


def _pin_headers(head: bytes) -> Headers:
    names = (ENFORCED.lower(), REPORT_ONLY.lower())
    text = _FOLD.sub(b" ", head).decode("latin-1")
    lines = (line.partition(":") for line in text.split("\n"))
    return tuple((name, value.strip()) for name, _, value in lines if name.lower() in names)
