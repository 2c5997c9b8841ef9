"""What the tests of the single modules build on: pins, keys, CSRs, a config dir, a fake Apache."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import settings
from hypothesis import strategies as st

from certbot_pinkeep.core import pins
from certbot_pinkeep.core.holdings import Holding
from certbot_pinkeep.core.keyring import Key, Keyring, Member, Role
from certbot_pinkeep.core.kinds import KeyKind
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.pem import load_private_key
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.core.state import State
from certbot_pinkeep.storage import keyring_file
from simulated import (
    no_network,  # noqa: F401 - for what it does
    no_time,  # noqa: F401 - for what it does
)

# Property tests try the same examples at every run: none fails by chance, none is timed or kept.
settings.register_profile("unit", deadline=None, database=None, derandomize=True)
settings.load_profile("unit")
# What a test makes must be nobody else's, on a machine of any habits.
os.umask(0o022)

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SIXTY_DAYS = 60 * 86400
EC = KeyKind("ecdsa", "secp256r1")
RSA = KeyKind("rsa", "2048")
#: A work dir that nobody can make: the config dir alone counts.
NO_WORK_DIR = "/proc/none"
Sections = dict[str, dict[str, str | list[str]]]


# Pins, keys and policies without any cryptography


def fake_pin(seed: object) -> str:
    """A pin that belongs to no key."""
    return base64.b64encode(hashlib.sha256(repr(seed).encode()).digest()).decode()


A, B, C, D, E = (fake_pin(letter) for letter in "ABCDE")


def policy(
    *listed: str,
    max_age: int = SIXTY_DAYS,
    include_subdomains: bool = False,
    report_uri: str | None = None,
    report_only: bool = False,
) -> Policy:
    """A policy with the given pins."""
    return Policy(listed, max_age, include_subdomains, report_uri, report_only)


def ring_key(
    pin: str,
    role: Role = "backup",
    kind: KeyKind = EC,
    created: datetime = NOW - 400 * DAY,
    first_served: datetime | None = None,
    path: str | None = "keys/0000_key-certbot.pem",
) -> Key:
    """A key of a keyring."""
    return Key(pin, kind, role, path, created, first_served)


FAULT = "The key file /etc/keys/0001_key-certbot.pem is empty."


def faulty(keyring: Keyring, *broken: str) -> Keyring:
    """The keyring, found on loading with the files of these keys damaged, and all others sound."""
    keys = (replace(key, fault=FAULT if key.pin in broken else "") for key in keyring.keys)
    return replace(keyring, keys=tuple(keys))


def uri_strategy() -> st.SearchStrategy[str]:
    """URIs that --pinkeep-report-uri takes, with the characters that files and Apache trip over."""
    parts = st.sampled_from([*"aZ09-._~:/?#[]@!$&'()*+,;=", "%25", "%0a"])
    rest = st.lists(parts, max_size=20)
    return rest.map(lambda parts: f"https://report.example/{''.join(parts)}")


def policy_strategy(pool: int = 6) -> st.SearchStrategy[Policy]:
    """Policies over a small pool of pins."""
    return st.builds(
        Policy,
        pins=st.lists(
            st.sampled_from([fake_pin(n) for n in range(pool)]), min_size=2, unique=True
        ).map(tuple),
        max_age=st.integers(0, 400 * 86400),
        include_subdomains=st.booleans(),
        report_uri=st.none() | uri_strategy(),
        report_only=st.booleans(),
    )


def file_sections(holdings: Iterable[Holding]) -> Sections:
    """Policies and releases as a keyring file has them."""
    return {str(number): keyring_file.section_of(one) for number, one in enumerate(holdings, 1)}


def sections(text: Mapping[str, Mapping[str, str | list[str]]]) -> Sections:
    """A copy of a ledger's sections that can be changed."""
    return {name: dict(section) for name, section in text.items()}


# A keyring as it is saved

OLD, NEW = policy(A, B), policy(A, C)
LEDGER = Ledger().record(OLD, NOW).confirm(NOW)
#: A keyring that publishes.
STATE = State(
    Keyring(
        "ring",
        (Member("example.com", ("example.com",), A),),
        (ring_key(A, "primary"), ring_key(B), ring_key(C)),
    ),
    LEDGER,
)
#: The state a day later: other pins are served, which took Apache an hour to load.
LATER = replace(STATE, ledger=LEDGER.record(NEW, NOW + DAY).confirm(NOW + DAY + HOUR))


# Keys and certificates


def make_pem(curve: ec.EllipticCurve | None = None) -> bytes:
    """A new private key."""
    return pem_of(ec.generate_private_key(curve or ec.SECP256R1()))


def pem_of(key: Any, password: bytes = b"", form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    """A private key as certbot writes it; with a password, encrypted."""
    how = BestAvailableEncryption(password) if password else serialization.NoEncryption()
    pem: bytes = key.private_bytes(serialization.Encoding.PEM, form, how)
    return pem


def encrypted(pem: bytes, password: bytes = b"secret") -> bytes:
    """A private key, encrypted."""
    return pem_of(serialization.load_pem_private_key(pem, None), password)


def pin_of_key(pem: bytes) -> str:
    """The pin of a private key's public half."""
    return pins.pin_of(load_private_key(pem).public_key())


def sans(names: Iterable[str]) -> x509.SubjectAlternativeName:
    """The extension with these names, IP addresses among them."""
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return x509.SubjectAlternativeName(found)


#: The subject of a certificate whose names stand in the extension alone.
NOBODY = x509.Name([])


def named(common_name: str) -> x509.Name:
    """The name of a CA or of a site."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def to_sign(
    key: Any,
    names: Iterable[str],
    start: datetime,
    issuer: x509.Name,
    subject: x509.Name = NOBODY,
) -> x509.CertificateBuilder:
    """A certificate of 90 days for a public key, which the issuer has not signed yet."""
    start = start.replace(tzinfo=None)
    serial = x509.random_serial_number()
    return x509.CertificateBuilder(
        issuer, subject, key, serial, start, start + 90 * DAY
    ).add_extension(sans(names), critical=subject == NOBODY)


def certificate(key_pem: bytes, names: Iterable[str], start: datetime = NOW - DAY) -> bytes:
    """A self-signed certificate."""
    key = load_private_key(key_pem)
    built = to_sign(key.public_key(), names, start, named("a test")).sign(key, hashes.SHA256())
    return built.public_bytes(serialization.Encoding.PEM)


def foreign_certificate(kind: str, host: str) -> bytes:
    """A certificate with a key that certbot cannot make: ``rsa-1024``, or on Ed25519."""
    small = rsa.generate_private_key(65537, 1024)
    signer = small if kind == "rsa-1024" else ed25519.Ed25519PrivateKey.generate()
    built = to_sign(signer.public_key(), [host], NOW, named(host), named(host))
    made = built.sign(signer, hashes.SHA256() if kind == "rsa-1024" else None)
    return made.public_bytes(serialization.Encoding.PEM)


def csr_of(
    key_pem: bytes,
    names: Iterable[str],
    must_staple: bool = False,
    extras: Iterable[x509.ExtensionType] = (),
    common_name: str | None = None,
) -> x509.CertificateSigningRequest:
    """A CSR as certbot or another program would make it."""
    subject = named(common_name) if common_name else NOBODY
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    builder = builder.add_extension(sans(names), critical=False)
    if must_staple:
        stapling = x509.TLSFeature([x509.TLSFeatureType.status_request])
        builder = builder.add_extension(stapling, critical=False)
    for extra in extras:
        builder = builder.add_extension(extra, critical=False)
    key: Any = serialization.load_pem_private_key(key_pem, None)
    edwards = isinstance(key, ed25519.Ed25519PrivateKey)
    return builder.sign(key, None if edwards else hashes.SHA256())


def csr_pem(key_pem: bytes, names: Iterable[str], must_staple: bool = False) -> bytes:
    """A CSR in PEM."""
    return csr_of(key_pem, names, must_staple).public_bytes(serialization.Encoding.PEM)


_SIGNATURES = {
    "sha256": b"\x2a\x86\x48\xce\x3d\x04\x03\x02",
    "sha1": b"\x2a\x86\x48\xce\x3d\x04\x01",
}


def resigned(body: bytes, signer_pem: bytes, digest: hashes.HashAlgorithm) -> bytes:
    """A CSR in PEM with the given body (DER), signed as no library of today would sign it."""
    signer = load_private_key(signer_pem)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    algorithm = _der(0x30, _der(0x06, _SIGNATURES[digest.name]))
    signature = _der(0x03, b"\0" + signer.sign(body, ec.ECDSA(digest)))
    text = base64.encodebytes(_der(0x30, body + algorithm + signature))
    return b"-----BEGIN CERTIFICATE REQUEST-----\n" + text + b"-----END CERTIFICATE REQUEST-----\n"


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = size.to_bytes((size.bit_length() + 7) // 8 or 1, "big")
    if size > 127:
        length = bytes([0x80 + len(length)]) + length
    return bytes([tag]) + length + content


# Files


def mode_of(path: str | Path) -> int:
    """The permission bits of a file."""
    return stat.S_IMODE(os.stat(path).st_mode)


def tree(*folders: Path) -> dict[str, tuple[int, bytes | str | None, int]]:
    """Everything below the folders: mode, content, and when a file was last written."""
    found: dict[str, tuple[int, bytes | str | None, int]] = {}
    for path in sorted(path for folder in folders for path in folder.rglob("*")):
        seen = path.lstat()
        if path.is_symlink():
            found[str(path)] = (seen.st_mode, os.readlink(path), seen.st_ino)
        elif path.is_file():
            found[str(path)] = (seen.st_mode, path.read_bytes(), seen.st_mtime_ns)
        else:
            found[str(path)] = (seen.st_mode, None, 0)
    return found
