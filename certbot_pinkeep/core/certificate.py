"""What a certificate says, and until when it is in time. Pure.

The rules:

* certbot renews 30 days before a certificate expires, or when a third of its life is left, whichever
  is later; or when ``renew_before_expiry`` says. Half of that time later, its renewals do not work.
* A certificate that the library cannot make sense of is an error of that certificate alone.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from certbot_pinkeep.core import times
from certbot_pinkeep.core.errors import BadKey
from certbot_pinkeep.core.key_and_csr import names_of
from certbot_pinkeep.core.kinds import KeyType
from certbot_pinkeep.core.observations import Certificate
from certbot_pinkeep.core.pem import kind_of
from certbot_pinkeep.core.pins import pin_of

_LONGEST = timedelta(days=30)
_SPAN = re.compile(r"(\d+)\s*(hour|day|week|month|year|[hdwy](?![a-z]))?s?", re.I)
_HOURS = {"h": 1, "d": 24, "w": 168, "m": 720, "y": 8760}


def read(lineage: str, certificate: x509.Certificate | bytes) -> Certificate:
    """Return what a certificate says; its key may be of any kind.

    :param certificate: as bytes: in DER
    :raises BadKey: if it cannot be made sense of
    """
    try:
        if isinstance(certificate, bytes):
            certificate = x509.load_der_x509_certificate(certificate)
        key = certificate.public_key()
        key_type: KeyType | None = None
        with suppress(BadKey):
            key_type = kind_of(key).key_type
        return Certificate(
            lineage=lineage,
            names=tuple(names_of(certificate)),
            pin=pin_of(key),
            key_type=key_type,
            fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
            begin=_time(certificate, "not_valid_before"),
            end=_time(certificate, "not_valid_after"),
        )
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise BadKey(f"it is no certificate that can be read: {error}") from error


def span(text: str) -> timedelta | None:
    """Return a time as certbot's ``renew_before_expiry`` has it, e.g. ``30 days`` or ``1 week 2 days``;
    without a unit, days. ``None``: it is empty, or written in another way."""
    found = _SPAN.findall(text)
    if not found or _SPAN.sub("", text).strip(" ,"):
        return None
    return timedelta(
        hours=sum(int(count) * _HOURS[(unit or "d")[0].lower()] for count, unit in found)
    )


def is_overdue(certificate: Certificate, now: datetime, before: timedelta | None = None) -> bool:
    """Return whether it should have been renewed well before *now*.

    :param before: how long before it expires it is renewed; ``None``: certbot's default
    """
    window = min(_LONGEST, (certificate.end - certificate.begin) / 3) if before is None else before
    return certificate.end - now < window / 2


def _time(certificate: x509.Certificate, name: str) -> datetime:
    found = times.of(certificate, name)
    assert found is not None  # each certificate has both
    return found
