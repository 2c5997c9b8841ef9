"""Pins. Pure: keys and certificates in, text out.

The rule: a pin is the base64 of the SHA-256 digest of the DER SubjectPublicKeyInfo (RFC 7469 §2.4).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from certbot_pinkeep.core.pem import load_certificate, usable

if TYPE_CHECKING:  # newer than the oldest cryptography that certbot 2.1 runs with
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes


_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)

#: Pins that no key has, digests of nothing much. The first one fills up a header with one pin; both stand
#: for those of a policy of which only the time is known.
FORGOTTEN = (
    "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
    "bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0=",
)
NOBODY = FORGOTTEN[0]


def pin_of(key: CertificatePublicKeyTypes) -> str:
    """Return the pin of a public key, of whatever kind (RFC 7469 §2.4)."""
    spki = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(hashlib.sha256(spki).digest()).decode("ascii")


def is_pin(text: str) -> bool:
    """Return whether *text* is the base64 of a SHA-256 digest."""
    try:
        return len(base64.b64decode(text, validate=True)) == 32 and len(text) == 44
    except (binascii.Error, ValueError):
        return False


def pin_of_certificate(pem: bytes) -> str:
    """Return the pin of the first certificate in *pem*.

    :raises BadKey: if that is no certificate with an RSA or ECDSA key
    """
    return pin_of(usable(load_certificate(pem).public_key()))


def pins_of_certificates(pem: bytes) -> frozenset[str]:
    """Return the pins of all certificates in *pem*; those that cannot be read are passed over."""
    found = set()
    for part in _CERTIFICATE.findall(pem):
        with suppress(ValueError, UnsupportedAlgorithm):
            found.add(pin_of(x509.load_pem_x509_certificate(part).public_key()))
    return frozenset(found)
