"""Which keys the servers at ports show, seen from here.

The rules:

* One time limit holds for all ports together, which are looked at side by side. A port that does not answer
  takes no time from the others.
* The system's resolver says which addresses a host has, by ``/etc/hosts`` or by the zone: the admin decides.
* Every address of a host is looked at, as another server may answer at each. What could not be seen counts
  as not done (G13): an address that does not answer in time, or to which this machine has no route, is an
  error. Other clients may reach it, and may be shown another key.
* An address that refuses connections is no error if the same port answers at another address of the host:
  nobody serves a key there. Such an address is left out. If no address takes a connection, each is an error.
* Several processes may share an address, and one of them may be stale. So each key type is looked at by
  several fresh connections, and all different pins are told.
* The first three connections ask for any key, for RSA and for ECDSA. A type that the server does not have is
  not asked for again. A type that it has shown once has to be shown each time.
* The certificate is not verified, as its names and dates do not count for DANE-EE (RFC 7671 §5.1).
"""

from __future__ import annotations

import errno
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certbot_pinkeep.adapters import starttls, tls
from certbot_pinkeep.adapters.threads import Pool, results
from certbot_pinkeep.adapters.tls import Address, Deadline
from certbot_pinkeep.core import pins
from certbot_pinkeep.core.dane import Certificate, Chain
from certbot_pinkeep.core.kinds import KeyType
from certbot_pinkeep.core.tlsa import Port
from certbot_pinkeep.core.zone_observations import PortObservation

#: Connections for each key type that a server has.
LOOKS = 4
#: Longer than servers make unknown clients wait for their greeting.
_SECONDS = 10.0
_TOGETHER = 256
_KINDS: tuple[KeyType | None, ...] = (None, "rsa", "ecdsa")
_SOMETIMES = "it shows keys of another type now and then"
_NO_ROUTE = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENETDOWN)


@dataclass(frozen=True)
class _Sight:
    """What one connection showed.

    :ivar pin: of the key; empty: none
    :ivar error: why there is none
    :ivar refused: whether nobody listens there
    :ivar routed: whether this machine has a route there
    :ivar lacks: whether the server may have no certificate of the key type that was asked for
    :ivar chain: the certificate, and those that came with it
    """

    pin: str = ""
    error: str = ""
    refused: bool = False
    routed: bool = True
    lacks: bool = False
    chain: Chain = ()


class _Look:
    """One look at some ports.

    :param seconds: the time limit for all of it
    """

    def __init__(self, seconds: float, pool: Pool) -> None:
        self._deadline = Deadline(seconds)
        self._pool = pool
        self._contexts = {kind: tls.blind(kind) for kind in _KINDS}

    def at_host(self, port: Port, known: Sequence[str], spots: Pool) -> list[PortObservation]:
        """Look at a port at all addresses of its host."""
        try:
            found = [
                address
                for name in known or [port.host]
                for address in tls.resolved(name, port.number, self._deadline)
            ]
        except tls.Ended as error:
            return [PortObservation(port, "", error=str(error))]
        addresses = list(dict.fromkeys(found))
        shown = results([spots.submit(self._at, port, one) for one in addresses])
        answers = any(one.pins for one, _ in shown)
        return [one for one, refused in shown if not (refused and answers)]

    def _at(self, port: Port, address: Address) -> tuple[PortObservation, bool]:
        """Look at a port at one address; and whether it refuses connections."""
        first = self._sights(port, address, _KINDS)
        has = [kind for kind, one in zip(_KINDS, first, strict=True) if one.pin]
        if len(has) == len(_KINDS):
            has.remove(None)  # any key is one of both types, and each of these is asked for
        again = self._sights(port, address, has * (LOOKS - 1))
        errors = [
            *(one.error for one in first if not one.lacks),
            *(_SOMETIMES if one.lacks else one.error for one in again),
        ]
        shown = PortObservation(
            port,
            str(address[4][0]),
            tuple(dict.fromkeys(one.pin for one in (*first, *again) if one.pin)),
            next(filter(None, errors), ""),
            tuple(dict.fromkeys(one.chain for one in (*first, *again) if one.chain)),
            all(one.routed for one in first),
        )
        return shown, first[0].refused

    def _sights(
        self, port: Port, address: Address, kinds: Sequence[KeyType | None]
    ) -> list[_Sight]:
        looks = [self._pool.submit(self._sight, port, address, kind) for kind in kinds]
        return results(looks)

    def _sight(self, port: Port, address: Address, kind: KeyType | None) -> _Sight:
        deadline = self._deadline
        try:
            plain = tls.connected(address, deadline)
        except OSError as error:
            why = deadline.why(error)
            routed = error.errno not in _NO_ROUTE
            if not routed:
                why = f"this machine has no route to it ({why})"
            refused = isinstance(error, ConnectionRefusedError)
            return _Sight(error=why, refused=refused, routed=routed)
        with plain:
            try:
                starttls.negotiate(plain, port.start, port.host, deadline)
                plain.settimeout(deadline.left())  # for the whole handshake
            except (tls.Ended, OSError) as error:  # TimeoutError is such
                return _Sight(error=deadline.why(error))
            try:
                context = self._contexts[kind]
                with context.wrap_socket(plain, server_hostname=port.host) as inner:
                    return self._shown(inner, port)
            except (OSError, UnicodeError) as error:  # ssl.SSLError and TimeoutError are such
                may_lack = kind is not None and not isinstance(error, TimeoutError)
                return _Sight(error=deadline.why(error), lacks=may_lack)

    def _shown(self, connection: ssl.SSLSocket, port: Port) -> _Sight:
        shown = tls.shown(connection)
        with suppress(OSError):
            starttls.leave(connection, port, self._deadline)
        try:
            own = _certificate(shown[0])
        except (ValueError, UnsupportedAlgorithm) as error:
            return _Sight(error=f"its certificate cannot be read ({error})")
        return _Sight(own.pin, chain=(own, *_readable(shown[1:])))


def _certificate(der: bytes) -> Certificate:
    key = x509.load_der_x509_certificate(der).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Certificate(pins.pin_of(key), spki, der)


def _readable(authorities: Sequence[bytes]) -> Iterator[Certificate]:
    for one in authorities:
        with suppress(ValueError, UnsupportedAlgorithm):
            yield _certificate(one)


def look(
    ports: Sequence[Port],
    *,
    seconds: float = _SECONDS,
    addresses: Mapping[str, Sequence[str]] | None = None,
) -> list[PortObservation]:
    """Look at all ports at once.

    :param seconds: the time limit for all of it
    :param addresses: the addresses of hosts, as far as they are known; the system's resolver knows the others
    :returns: what each port showed at each address of its host, in their order
    """
    known = addresses or {}
    with Pool() as hosts, Pool() as spots, Pool(_TOGETHER) as pool:
        one_look = _Look(seconds, pool)
        looks = [
            hosts.submit(one_look.at_host, port, known.get(port.host, ()), spots) for port in ports
        ]
        return [one for some in results(looks) for one in some]
