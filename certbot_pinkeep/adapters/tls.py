"""What every look at a TLS server needs: time limits, addresses, connections, and ciphers by key type.

The rules:

* A time limit holds for all of a look. A server may send a byte now and then, and a name server may not
  answer.
* What is shown counts, trusted or not: :func:`blind` verifies nothing.
* A server may have a certificate of each key type. The ciphers of TLS 1.2 choose between them; with TLS 1.3
  alone the server chooses.
"""

from __future__ import annotations

import socket
import ssl
import time
from functools import partial
from typing import Any

from certbot_pinkeep.adapters.threads import in_time
from certbot_pinkeep.core.kinds import KeyType
from certbot_pinkeep.core.observations import Stopped

#: The ciphers of a key type.
CIPHERS: dict[KeyType, str] = {"rsa": "aRSA", "ecdsa": "aECDSA"}
#: As :mod:`_ssl` has it.
_DER = 2
_ABSENT = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
#: What servers answer that have no certificate for any of the ciphers.
_NO_CIPHER = ("HANDSHAKE_FAILURE", "INSUFFICIENT_SECURITY")
#: What the library says of answers that are no TLS.
_NO_TLS = (
    "WRONG_VERSION_NUMBER",
    "UNKNOWN_PROTOCOL",
    "HTTP_REQUEST",
    "PACKET_LENGTH_TOO_LONG",
    "RECORD_LAYER_FAILURE",
)
_CLOSED = (
    ssl.SSLEOFError,
    ssl.SSLZeroReturnError,
    ConnectionResetError,
    BrokenPipeError,
)
#: As :func:`socket.getaddrinfo` has it.
Address = tuple[Any, ...]


class Ended(Exception):
    """A look that ends early; its text is a part of a sentence.

    :ivar stopped: where it ended
    :ivar absent: whether the host certainly does not exist
    """

    def __init__(self, stopped: Stopped, error: str, *, absent: bool = False) -> None:
        super().__init__(error)
        self.stopped = stopped
        self.absent = absent


class Deadline:
    """A time limit for all of a look.

    :param seconds: from now
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left.

        :raises TimeoutError: if none are left
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def why(self, error: Exception) -> str:
        """Return what an error says, as a part of a sentence."""
        if isinstance(error, TimeoutError):
            return f"it took longer than {self._seconds:g} seconds"
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        if isinstance(error, _CLOSED):
            return "it closed the connection"
        if isinstance(error, ssl.SSLError) and error.reason in _NO_TLS:
            return "nothing that speaks TLS answers there"
        if isinstance(error, ssl.SSLError):
            return (error.reason or str(error)).replace("_", " ").lower()
        return str(getattr(error, "strerror", None) or error or type(error).__name__)


def blind(kind: KeyType | None) -> ssl.SSLContext:
    """Return a context that takes any certificate; of one key type only, if a type is given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return restricted(context, kind)


def restricted(context: ssl.SSLContext, kind: KeyType | None) -> ssl.SSLContext:
    """Have a context ask for certificates of one key type; ``None``: of any."""
    if kind is not None:
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CIPHERS[kind])
    return context


def shown(connection: ssl.SSLSocket) -> list[bytes]:
    """Return the certificates that a server showed, as DER, its own one first.

    Python says from 3.13 on which others came with it. Before, an inner object knows; if it does not, the
    server's own certificate is alone.
    """
    own = connection.getpeercert(binary_form=True) or b""
    if hasattr(connection, "get_unverified_chain"):
        return list(connection.get_unverified_chain()) or [own]
    inner = getattr(connection, "_sslobj", None)
    try:
        others = [one.public_bytes(_DER) for one in inner.get_unverified_chain() or ()]  # type: ignore[union-attr]
    except (AttributeError, TypeError):
        others = []
    return others if others[:1] == [own] else [own]


def lacks_type(error: Exception) -> bool:
    """Return whether a server says that it has no certificate of the key type that was asked for."""
    reason = getattr(error, "reason", None) or ""
    return any(one in reason for one in _NO_CIPHER)


def connected(address: Address, deadline: Deadline) -> socket.socket:
    """Connect to an address.

    :raises OSError: if it takes no connection in time
    """
    family, kind, protocol, _, where = address
    connection = None
    try:
        connection = socket.socket(family, kind, protocol)  # the kernel may lack the family
        connection.settimeout(deadline.left())
        connection.connect(where)
        return connection
    except OSError:
        if connection is not None:
            connection.close()
        raise


def resolved(name: str, port: int, deadline: Deadline) -> list[Address]:
    """Return the addresses of a name, each once.

    :raises Ended: if there are none, in time
    """
    ask = partial(socket.getaddrinfo, name, port, type=socket.SOCK_STREAM)
    try:  # the system's resolver takes no time limit
        return list(dict.fromkeys(in_time(ask, deadline.left())))
    except (OSError, UnicodeError) as error:  # TimeoutError is such
        absent = isinstance(error, socket.gaierror) and error.errno in _ABSENT
        raise Ended("unreachable", f"{name}: {deadline.why(error)}", absent=absent) from error
