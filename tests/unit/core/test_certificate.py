"""What a certificate says: its names, its key, and when its renewal is overdue."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certbot_pinkeep.core import certificate as certificates
from certbot_pinkeep.core.errors import BadKey
from simulated.seen import (
    HOST,
    LIVE_CERTIFICATE,
)
from simulated.values import (
    DAY,
    NOW,
    make_pem,
)


@pytest.mark.parametrize(
    ("life", "left", "before", "overdue"),
    [
        (90, 16, "", False),
        (90, 14, "", True),
        (365, 16, "", False),
        (365, 14, "", True),
        (6, 1.1, "", False),
        (6, 0.9, "", True),
        (90, 14, "soon", True),
        (90, 14, "5 days", False),
        (90, 2.4, "5 days", True),
        (90, 5, "1 week 72h", False),
        (90, 4.9, "1 week 72h", True),
        (90, 29, "60", True),
    ],
)
def test_renewal_is_overdue_well_after_certbots_time(
    life: float, left: float, before: str, overdue: bool
) -> None:
    """For certificates of a year, of ninety days, and of six; and if the admin sets that time."""
    end = NOW + timedelta(days=left)
    one = replace(LIVE_CERTIFICATE, begin=end - timedelta(days=life), end=end)
    assert certificates.is_overdue(one, NOW, certificates.span(before)) == overdue


@pytest.mark.parametrize("text", ["", "soon", "30 minutes", "-5 days", "5 days ago"])
def test_a_time_that_is_written_in_another_way_is_not_guessed_at(text: str) -> None:
    """Certbot may read more than we do."""
    assert certificates.span(text) is None


def test_a_certificate_that_cannot_be_made_sense_of_is_an_error_of_its_own() -> None:
    """Whatever the library raises, one certificate cannot end the whole check."""
    built = x509.CertificateBuilder(x509.Name([]), x509.Name([]), serial_number=1)
    built = built.not_valid_before(NOW.replace(tzinfo=None)).not_valid_after(
        (NOW + DAY).replace(tzinfo=None)
    )
    key = serialization.load_pem_private_key(make_pem(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    # An IP address of five bytes.
    names = x509.UnrecognizedExtension(
        x509.SubjectAlternativeName.oid, bytes.fromhex("300787050102030405")
    )
    odd = built.public_key(key.public_key()).add_extension(names, False).sign(key, hashes.SHA256())
    for certificate_ in (odd, odd.public_bytes(serialization.Encoding.DER), b"nonsense"):
        with pytest.raises(BadKey, match="be read"):
            certificates.read(HOST, certificate_)


def test_keys_of_any_kind_are_read() -> None:
    """Also one that certbot cannot make: its pin is the pin of its certificate all the same."""
    from cryptography.hazmat.primitives.asymmetric import ed25519

    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([])
    built = x509.CertificateBuilder(name, name, key.public_key(), 1)
    built = built.not_valid_before(NOW.replace(tzinfo=None)).not_valid_after(
        (NOW + DAY).replace(tzinfo=None)
    )
    found = certificates.read(HOST, built.sign(key, None))
    assert (found.key_type, found.names, found.end) == (None, (), NOW + DAY)
