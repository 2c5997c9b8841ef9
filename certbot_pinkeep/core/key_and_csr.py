"""A key, a CSR and what a CSR asks for, as values. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.x509.oid import NameOID

from certbot_pinkeep.core.errors import BadKey
from certbot_pinkeep.core.kinds import KeyKind


@dataclass(frozen=True)
class SavedKey:
    """A private key's file.

    :ivar path: below the config dir, e.g. ``keys/0000_key-certbot.pem``
    """

    path: str
    pem: bytes = field(repr=False)
    pin: str
    kind: KeyKind


@dataclass(frozen=True)
class SavedCsr:
    """A CSR's file, byte for byte.

    :ivar path: absolute; ``None`` when it was made for a dry run and is not saved
    """

    path: str | None
    pem: bytes


@dataclass(frozen=True)
class CsrRequest:
    """What a CSR asks for.

    :ivar pin: the pin of its public key
    :ivar names: DNS names in lower case and IP addresses
    """

    pin: str
    names: frozenset[str]
    must_staple: bool


def csr_request(pin: str, names: Iterable[str], *, must_staple: bool) -> CsrRequest:
    """Return a request, for names in lower case."""
    return CsrRequest(pin, frozenset(names), must_staple)


def names_of(signed: x509.Certificate | x509.CertificateSigningRequest) -> list[str]:
    """Return all names of a certificate or CSR, in order, in lower case; :func:`hostnames.hosts` tells
    which of them are hosts.

    :raises BadKey: if they cannot be read
    """
    found: list[str] = []
    try:
        common = signed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        found += [str(name.value) for name in common]
        # The library reads extensions late.
        sans = signed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found += sans.get_values_for_type(x509.DNSName)
        found += [str(address) for address in sans.get_values_for_type(x509.IPAddress)]
    except x509.ExtensionNotFound:
        pass
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise BadKey(f"its names cannot be read: {error}") from error
    return list(dict.fromkeys(name.lower() for name in found))


@dataclass(frozen=True)
class KeyAndCsr:
    """What a renewal is issued for.

    :ivar key_path: the private key's file, absolute
    :ivar pin: the pin that the issued certificate's key must have
    :ivar waited: whether key and CSR were there though no keyring has the key
    """

    key_path: str
    key_pem: bytes = field(repr=False)
    csr: SavedCsr
    pin: str
    waited: bool = False
