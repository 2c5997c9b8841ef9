"""What a certificate says, and until when it is in time. Pure.

The rules:

* certbot renews 30 days before a certificate expires, or when a third of its life is left, whichever
  is later. Half of that time later, its renewals do not work.
"""

from __future__ import annotations

import base64
import hashlib
from contextlib import suppress
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from certbot_pinkeep import csrs, pins
from certbot_pinkeep.checks.seen import Certificate
from certbot_pinkeep.errors import BadKey
from certbot_pinkeep.pins import KeyType

_LONGEST = timedelta(days=30)


def read(lineage: str, certificate: x509.Certificate) -> Certificate:
    """What a certificate says; its key may be of any kind."""
    key = certificate.public_key()
    spki = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    key_type: KeyType | None = None
    with suppress(BadKey):
        key_type = pins.kind_of(key).key_type
    return Certificate(
        lineage=lineage,
        names=tuple(csrs.names_of(certificate.subject, certificate.extensions)),
        pin=base64.b64encode(hashlib.sha256(spki).digest()).decode("ascii"),
        key_type=key_type,
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        begin=_moment(certificate, "not_valid_before"),
        end=_moment(certificate, "not_valid_after"),
    )


def is_overdue(certificate: Certificate, now: datetime) -> bool:
    """Whether it should have been renewed well before *now*."""
    window = min(_LONGEST, (certificate.end - certificate.begin) / 3)
    return certificate.end - now < window / 2


def _moment(certificate: x509.Certificate, name: str) -> datetime:
    # The aware ones are newer than the oldest cryptography that certbot 2.1 runs with.
    aware = getattr(certificate, f"{name}_utc", None)
    found: datetime = aware or getattr(certificate, name).replace(tzinfo=timezone.utc)
    return found
