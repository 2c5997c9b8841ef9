"""Pins and the header that carries them. Pure: bytes and text in, text out.

The rules:

* A pin is the base64 of the SHA-256 digest of the DER SubjectPublicKeyInfo (RFC 7469 §2.4).
* The header lists ``pin-sha256`` directives, then ``max-age``, ``includeSubDomains`` and
  ``report-uri`` (RFC 7469 §2.1); directive names are case-insensitive, none but the pins may
  occur twice, unknown ones and pins by another hash are ignored, directives may be empty.
* ``max-age`` is a count of seconds in digits (RFC 7469 §2.1.2).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certbot_pinkeep.errors import BadHeader, BadKey

if TYPE_CHECKING:  # newer than the oldest cryptography that certbot 2.1 runs with
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

KeyType = Literal["rsa", "ecdsa"]
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

#: The curves that certbot can make keys on.
CURVES = ("secp256r1", "secp384r1", "secp521r1")
#: The least size of an RSA key that certbot makes and public CAs accept.
LEAST_RSA_BITS = 2048

_DIRECTIVE = re.compile(
    r'\s*(?P<name>[!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*(?:=\s*(?:"(?P<quoted>[^"\\]*)"|'
    r"(?P<token>[!#$%&'*+.^_`|~0-9A-Za-z-]+))\s*)?(?:;|$)"
)


_ENCRYPTED = re.compile(
    rb"-----BEGIN ENCRYPTED PRIVATE KEY-----.*?-----END ENCRYPTED PRIVATE KEY-----", re.DOTALL
)
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class KeyKind:
    """What kind of key it is.

    :ivar key_type: ``rsa`` or ``ecdsa``
    :ivar detail: the size in bits of an RSA key, e.g. ``2048``; the curve of an ECDSA key, e.g.
        ``secp256r1``
    """

    key_type: KeyType
    detail: str

    def __str__(self) -> str:
        return f"{self.key_type.upper()} {self.detail}"


@dataclass(frozen=True)
class Header:
    """A Public-Key-Pins header's content (RFC 7469 §2.1).

    :ivar pins: in the order of the header
    :ivar max_age: seconds
    """

    pins: tuple[str, ...]
    max_age: int
    include_subdomains: bool = False
    report_uri: str | None = None


def pin_of(key: CertificatePublicKeyTypes) -> str:
    """The pin of a public key, of whatever kind (RFC 7469 §2.4)."""
    spki = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(hashlib.sha256(spki).digest()).decode("ascii")


def is_pin(text: str) -> bool:
    """Whether *text* is the base64 of a SHA-256 digest."""
    try:
        return len(base64.b64decode(text, validate=True)) == 32 and len(text) == 44
    except (binascii.Error, ValueError):
        return False


def pin_of_certificate(pem: bytes) -> str:
    """The pin of the first certificate in *pem*.

    :raises BadKey: when that is no certificate with an RSA or ECDSA key
    """
    return pin_of(usable(load_certificate(pem).public_key()))


def pins_of_certificates(pem: bytes) -> frozenset[str]:
    """The pins of all certificates in *pem*; those that cannot be read are passed over."""
    found = set()
    for part in _CERTIFICATE.findall(pem):
        with suppress(ValueError, UnsupportedAlgorithm):
            found.add(pin_of(x509.load_pem_x509_certificate(part).public_key()))
    return frozenset(found)


def load_certificate(pem: bytes) -> x509.Certificate:
    """The first certificate in *pem*.

    :raises BadKey: when there is none
    """
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise BadKey(f"it is not a certificate in PEM: {error}") from error


def load_private_key(pem: bytes, passphrase: bytes | None = None) -> PrivateKey:
    """The private key in *pem*, which must be of a kind that certbot can use.

    :param passphrase: that it is encrypted with; ``None``: it is not encrypted
    :raises BadKey: when it is not
    """
    try:
        key = serialization.load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The library's own words are left out: they might quote what they could not read (G7).
        raise BadKey(
            "it is not an unencrypted private key in PEM"
            if passphrase is None
            else "it is not a private key in PEM that this passphrase opens"
        ) from None
    if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
        raise BadKey("its key is neither RSA nor ECDSA, and certbot can use no other")
    usable(key.public_key())
    return key


def quick_public_key(pem: bytes) -> PublicKey:
    """The public key of a private key in PEM that was proved to be whole when it came: that an RSA key's
    primes are primes takes a hundred times as long as the rest, and is not proved again.

    :raises BadKey: as :func:`load_private_key`
    """
    try:
        key = serialization.load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return load_private_key(pem).public_key()  # a cryptography before 39.0, or what is no key
    if not isinstance(key, rsa.RSAPrivateKey):
        return load_private_key(pem).public_key()
    numbers = key.private_numbers()
    if numbers.p * numbers.q != numbers.public_numbers.n or not _belongs(numbers):
        raise BadKey("it is not a private key that is whole")
    return usable(key.public_key())


def _belongs(numbers: rsa.RSAPrivateNumbers) -> bool:
    """Whether an RSA key's private half is that of its public half (RFC 8017 §3.2)."""
    d, p, q, e = numbers.d, numbers.p, numbers.q, numbers.public_numbers.e
    if min(p, q) < 3 or q * numbers.iqmp % p != 1:
        return False
    if (d % (p - 1), d % (q - 1)) != (numbers.dmp1, numbers.dmq1):
        return False
    return d * e % (p - 1) == 1 and d * e % (q - 1) == 1


def is_encrypted(pem: bytes) -> bool:
    """Whether it says of itself that it is an encrypted private key, in PKCS#8 or in the form that
    OpenSSL wrote before (RFC 7468 §11, RFC 1421 §4.6.1.1)."""
    return encrypted_block(pem) is not None or b"Proc-Type: 4,ENCRYPTED" in pem


def encrypted_block(pem: bytes) -> bytes | None:
    """The encrypted private key in *pem* alone, without what else is in the file (PKCS#8, RFC 7468
    §11); ``None``: there is none."""
    found = _ENCRYPTED.search(pem)
    return found[0] + b"\n" if found else None


def write_private_key(key: PrivateKey) -> bytes:
    """The private key in PEM, unencrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def load_public_key(pem: bytes) -> PublicKey:
    """The public key in *pem*, which is a CSR with a valid signature, or a public key alone.

    :raises BadKey: when it is neither, or the key is of a kind that certbot cannot make
    """
    try:
        if b"CERTIFICATE REQUEST-----" in pem:
            csr = x509.load_pem_x509_csr(pem)
            digest = csr.signature_hash_algorithm
            if digest is not None and digest.name in ("md5", "sha1"):
                raise BadKey(
                    f"it is signed with {digest.name.upper()}, which proves nothing any more. Give its "
                    "public key instead, which 'openssl req -noout -pubkey -in FILE' prints"
                )
            if not csr.is_signature_valid:
                raise BadKey("its signature is not by its own key")
            return usable(csr.public_key())
        return usable(serialization.load_pem_public_key(pem))
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise BadKey(f"it is neither a CSR nor a public key in PEM{_public_hint(pem)}") from None


def _public_hint(pem: bytes) -> str:
    """How to come by the public key of what was given instead, as the end of a sentence."""
    if b"PRIVATE KEY-----" in pem:
        return ", but a private key: give it as --key"
    if b"BEGIN CERTIFICATE-----" in pem:
        return ", but a certificate; 'openssl x509 -noout -pubkey -in FILE' prints its public key"
    if pem[:1] == b"\x30":  # a SEQUENCE in DER
        return "; 'openssl req -inform DER -in FILE' prints a CSR in DER as PEM"
    return ""


def is_common(key: PublicKey) -> bool:
    """Whether it is of a kind that public CAs take, as Let's Encrypt does."""
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size in (2048, 3072, 4096) and key.public_numbers().e == 65537
    return key.curve.name in ("secp256r1", "secp384r1")


def usable(key: object) -> PublicKey:
    """*key*, when it is of a kind that certbot can make again.

    :raises BadKey: when it is not
    """
    kind_of(key)
    assert isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey))
    return key


def kind_of(key: object) -> KeyKind:
    """The kind of a public key.

    :raises BadKey: for one that certbot could not make
    """
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < LEAST_RSA_BITS:
            raise BadKey(f"its RSA key has {key.key_size} bits, fewer than {LEAST_RSA_BITS}")
        return KeyKind("rsa", str(key.key_size))
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in CURVES:
            raise BadKey(f"its ECDSA key is on {key.curve.name}, which certbot cannot use")
        return KeyKind("ecdsa", key.curve.name)
    raise BadKey("its key is neither RSA nor ECDSA, and certbot can use no other")


def write_header(header: Header) -> str:
    """The header's value (RFC 7469 §2.1)."""
    directives = [f'pin-sha256="{pin}"' for pin in header.pins]
    directives.append(f"max-age={header.max_age}")
    if header.include_subdomains:
        directives.append("includeSubDomains")
    if header.report_uri is not None:
        directives.append(f'report-uri="{header.report_uri}"')
    return "; ".join(directives)


def read_header(value: str) -> Header:
    """Read a header's value as a user agent does (RFC 7469 §2.1).

    :raises BadHeader: when its syntax is wrong, or max-age is missing
    """
    pins: list[str] = []
    others: dict[str, str] = {}
    for name, content in _directives(value):
        if name == "pin-sha256":
            if not is_pin(content):
                raise BadHeader(f"pin-sha256 is not the base64 of a SHA-256 digest: {content!r}")
            pins.append(content)
        elif name.startswith("pin-"):
            continue  # by a hash that is not known
        elif name in others:
            raise BadHeader(f"the directive {name} occurs twice")
        else:
            others[name] = content
    max_age = others.get("max-age", "")
    if not (max_age.isascii() and max_age.isdigit()):
        raise BadHeader(f"max-age is not a number of seconds: {max_age!r}")
    # Python reads no number of thousands of digits; twenty are for ever already.
    seconds = int(max_age) if len(max_age) <= 20 else 10**20
    return Header(tuple(pins), seconds, "includesubdomains" in others, others.get("report-uri"))


def _directives(value: str) -> list[tuple[str, str]]:
    found = []
    left = value
    while left := left.lstrip(" \t;"):  # empty directives are allowed
        match = _DIRECTIVE.match(left)
        if not match:
            raise BadHeader(f"not a directive: {left.strip()!r}")
        content = match["quoted"] if match["quoted"] is not None else match["token"] or ""
        found.append((match["name"].lower(), content))
        left = left[match.end() :]
    return found
