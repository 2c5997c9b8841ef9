"""Keys and certificates as values. Pure: PEM in, values out.

The rule: pinkeep uses only keys that certbot can make: RSA from 2,048 bits, or ECDSA on certbot's curves.
"""

from __future__ import annotations

import re

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certbot_pinkeep.core.errors import BadKey
from certbot_pinkeep.core.kinds import KeyKind

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
#: The curves that certbot can make keys on.
CURVES = ("secp256r1", "secp384r1", "secp521r1")
#: The least size of an RSA key that certbot makes and public CAs accept.
LEAST_RSA_BITS = 2048
_ENCRYPTED = re.compile(
    rb"-----BEGIN ENCRYPTED PRIVATE KEY-----.*?-----END ENCRYPTED PRIVATE KEY-----", re.DOTALL
)


def load_certificate(pem: bytes) -> x509.Certificate:
    """Return the first certificate in *pem*.

    :raises BadKey: if there is none
    """
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise BadKey(f"it is not a certificate in PEM: {error}") from error


def load_private_key(pem: bytes, passphrase: bytes | None = None) -> PrivateKey:
    """Return the private key in *pem*, which must be of a kind that certbot can use.

    :param passphrase: that it is encrypted with; ``None``: it is not encrypted
    :raises BadKey: if it is not
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
    """Return the public key of a private key in PEM that was proved to be whole before. To prove that an RSA
    key's primes are primes takes a hundred times as long.

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
    """Return whether an RSA key's private half is that of its public half (RFC 8017 §3.2)."""
    d, p, q, e = numbers.d, numbers.p, numbers.q, numbers.public_numbers.e
    if min(p, q) < 3 or q * numbers.iqmp % p != 1:
        return False
    if (d % (p - 1), d % (q - 1)) != (numbers.dmp1, numbers.dmq1):
        return False
    return d * e % (p - 1) == 1 and d * e % (q - 1) == 1


def is_encrypted(pem: bytes) -> bool:
    """Return whether it is marked as an encrypted private key, in PKCS#8 or in OpenSSL's older form (RFC 7468
    §11, RFC 1421 §4.6.1.1)."""
    return encrypted_block(pem) is not None or b"Proc-Type: 4,ENCRYPTED" in pem


def encrypted_block(pem: bytes) -> bytes | None:
    """Return the encrypted private key in *pem* alone, without what else is in the file (PKCS#8, RFC 7468
    §11); ``None``: there is none."""
    found = _ENCRYPTED.search(pem)
    return found[0] + b"\n" if found else None


def write_private_key(key: PrivateKey) -> bytes:
    """Return the private key in PEM, unencrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def load_public_key(pem: bytes) -> PublicKey:
    """Return the public key in *pem*, which is a CSR with a valid signature, or a public key alone.

    :raises BadKey: if it is neither, or the key is of a kind that certbot cannot make
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
    """Return how to come by the public key of what was given instead, as the end of a sentence."""
    if b"PRIVATE KEY-----" in pem:
        return ", but a private key: give it as --key"
    if b"BEGIN CERTIFICATE-----" in pem:
        return ", but a certificate; 'openssl x509 -noout -pubkey -in FILE' prints its public key"
    if pem[:1] == b"\x30":  # a SEQUENCE in DER
        return "; 'openssl req -inform DER -in FILE' prints a CSR in DER as PEM"
    return ""


def is_common(key: PublicKey) -> bool:
    """Return whether it is of a kind that public CAs take, as Let's Encrypt does."""
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size in (2048, 3072, 4096) and key.public_numbers().e == 65537
    return key.curve.name in ("secp256r1", "secp384r1")


def usable(key: object) -> PublicKey:
    """*key*, when it is of a kind that certbot can make again.

    :raises BadKey: if it is not
    """
    kind_of(key)
    assert isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey))
    return key


def kind_of(key: object) -> KeyKind:
    """Return the kind of a public key.

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
