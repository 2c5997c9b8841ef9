"""What ``check`` has seen of a sound site, and what is planted in it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from certbot_pinkeep.carriers import apache
from certbot_pinkeep.core import certificate as certificates
from certbot_pinkeep.core.holdings import Release
from certbot_pinkeep.core.key_and_csr import csr_request
from certbot_pinkeep.core.keyring import Keyring, Member
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.observations import (
    Certificate,
    FileInfo,
    HttpObservation,
    Lineage,
    Seen,
    TlsObservation,
)
from certbot_pinkeep.core.options import Options
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.core.state import State
from simulated.values import (
    DAY,
    HOUR,
    NOW,
    B,
    C,
    D,
    certificate,
    make_pem,
    pem_of,
    pin_of_key,
    policy,
    ring_key,
)

HOST, OTHER, RING = "example.com", "other.example", "ring"
PKP, ONLY = "Public-Key-Pins", "Public-Key-Pins-Report-Only"
LIVE_PEM, STRANGE_PEM = make_pem(), make_pem()
LIVE, STRANGE = pin_of_key(LIVE_PEM), pin_of_key(STRANGE_PEM)


def parsed(pem: bytes, name: str = HOST) -> tuple[bytes, Certificate]:
    """A certificate in DER, and what is made of it."""
    found = x509.load_pem_x509_certificate(pem)
    return found.public_bytes(serialization.Encoding.DER), certificates.read(name, found)


LIVE_DER, LIVE_CERTIFICATE = parsed(certificate(LIVE_PEM, [HOST]))
OLD_DER, OLD_CERTIFICATE = parsed(certificate(LIVE_PEM, [HOST], NOW - 20 * DAY))
EXPIRED_DER, _ = parsed(certificate(LIVE_PEM, [HOST], NOW - 91 * DAY))
STRANGE_DER, STRANGE_CERTIFICATE = parsed(certificate(STRANGE_PEM, [HOST]))
POLICY = policy(LIVE, B)
KEYS = (
    ring_key(LIVE, "primary", first_served=NOW - DAY, path="keys/0.pem"),
    ring_key(B, path="keys/1.pem"),
)
KEYRING = Keyring(RING, (Member(HOST, (HOST,), LIVE),), KEYS)
LEDGER = Ledger().record(POLICY, NOW - 10 * DAY, (HOST,)).confirm(NOW - 10 * DAY)
SHOWN = TlsObservation(HOST, LIVE_DER, ((PKP, POLICY.header_value),))
LINEAGE = Lineage(HOST, LIVE_CERTIFICATE, reuse_key=True)
REQUESTS = frozenset(csr_request(pin, [HOST], must_staple=False) for pin in (LIVE, B))


def sound(
    ledger: Ledger = LEDGER, keyring: Keyring = KEYRING, unpin: bool = False, **changes: Any
) -> Seen:
    """A sound site, or one with a fault."""
    current = ledger.current
    seen = Seen(
        state=State(keyring, ledger, "/s.conf", unpin=unpin),
        chosen=Options(RING),
        reloads=True,
        latest_known=NOW,
        owner=0,
        config_dir="/etc/letsencrypt",
        snippet=apache.render(keyring, current.policy) if current else None,
        shown=(SHOWN,),
        plain=(HttpObservation(HOST),),
        places=(FileInfo("/keys", "keys", 0o700, 0),),
        lineages=(LINEAGE,),
        requests=REQUESTS,
    )
    return replace(seen, **changes)


def shows(*headers: tuple[str, str], **changes: Any) -> dict[str, Any]:
    """A host that shows something else."""
    return {"shown": (replace(SHOWN, headers=headers or SHOWN.headers, **changes),)}


def with_key(**changes: Any) -> Keyring:
    """The keyring with another backup."""
    return replace(KEYRING, keys=(KEYS[0], replace(KEYS[1], **changes)))


def lineage(**changes: Any) -> dict[str, Any]:
    """Another lineage."""
    return {"lineages": (replace(LINEAGE, **changes),)}


def digest_of(keyring: Keyring, ledger: Ledger) -> str:
    """Of the snippet that has passed Apache's test."""
    assert ledger.current is not None
    return hashlib.sha256(apache.render(keyring, ledger.current.policy).encode()).hexdigest()


def ended(current: Policy, *earlier: Policy) -> Ledger:
    """A ledger in which policies were replaced, a day ago at last."""
    found = Ledger()
    for days, one in enumerate((current, *reversed(earlier)), 1):
        found = found if one is current else found.record(one, NOW - 9 * DAY + days * HOUR, (HOST,))
        found = found.confirm(NOW - 9 * DAY + days * HOUR)
    return found.record(current, NOW - DAY, (HOST,)).confirm(NOW - DAY)


PENDING = LEDGER.record(policy(LIVE, B, max_age=60), NOW - HOUR, (HOST,))
NEVER_LOADED = Ledger().record(POLICY, NOW - HOUR, (HOST,))
REPORTING = Ledger().record(policy(LIVE, B, report_only=True), NOW - DAY, (HOST,)).confirm(NOW)
LEAVING = LEDGER.record(policy(LIVE, B, max_age=0), NOW - DAY, (HOST,)).confirm(NOW - DAY)
LEFT = LEAVING.prune(NOW + 100 * DAY)
MOVED_POLICY = policy(LIVE, C)
MOVED = LEDGER.with_imported(Ledger().record(MOVED_POLICY, NOW - 20 * DAY, (HOST,)), (HOST,))
COVERING = (
    Ledger().record(policy(LIVE, B, include_subdomains=True), NOW - DAY, (HOST,)).confirm(NOW)
)
BELOW = replace(STRANGE_CERTIFICATE, lineage="deep", names=(f"deep.{HOST}",))
TRUE_HEADER = (PKP, POLICY.header_value)
ENFORCING = (PKP, policy(LIVE, B).header_value)
REPORTS = (ONLY, policy(LIVE, B).header_value)
COMPROMISED = KEYRING.with_compromised(LIVE)
UNPIN = f"certbot-pinkeep unpin {RING}"
APP = Release("ios", "3 x", (C, D), (HOST,), NOW - DAY, NOW + 30 * DAY)
BACKUP_PEM = make_pem()
BACKUP = pin_of_key(BACKUP_PEM)
BACKUP_DER, BACKUP_CERTIFICATE = parsed(certificate(BACKUP_PEM, [HOST]))
EARLY = replace(KEYRING, keys=(KEYS[0], replace(KEYS[1], pin=BACKUP)))
RSA_DER, _ = parsed(certificate(pem_of(rsa.generate_private_key(65537, 2048)), [HOST]))
