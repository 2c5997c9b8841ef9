"""What visitors see: each fault is found, as bad as it is, with what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from certbot_pinkeep.check import check
from certbot_pinkeep.check.findings import Severity, exit_code
from certbot_pinkeep.core import earlier_headers, times
from certbot_pinkeep.core.key_and_csr import csr_request
from certbot_pinkeep.core.keyring import Member
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.observations import HttpObservation, Seen, TlsObservation
from simulated.seen import (
    APP,
    BACKUP,
    BACKUP_CERTIFICATE,
    BACKUP_DER,
    EARLY,
    ENFORCING,
    EXPIRED_DER,
    HOST,
    KEYRING,
    KEYS,
    LEDGER,
    LEFT,
    LINEAGE,
    LIVE,
    LIVE_CERTIFICATE,
    LIVE_DER,
    MOVED,
    MOVED_POLICY,
    OLD_DER,
    OTHER,
    PENDING,
    PKP,
    POLICY,
    REPORTING,
    REPORTS,
    RING,
    RSA_DER,
    SHOWN,
    STRANGE,
    STRANGE_CERTIFICATE,
    STRANGE_DER,
    TRUE_HEADER,
    ended,
    lineage,
    shows,
    sound,
)
from simulated.values import DAY, HOUR, NOW, B, C, D, policy, ring_key

OK, WARNING, CRITICAL, UNKNOWN = Severity


def too_early(**shown: Any) -> Seen:
    """A backup is live that is not in all that clients hold."""
    requests = frozenset(csr_request(pin, [HOST], must_staple=False) for pin in (LIVE, BACKUP))
    return sound(
        ended(policy(LIVE, BACKUP), policy(LIVE, C)),
        keyring=EARLY,
        requests=requests,
        **lineage(live=BACKUP_CERTIFICATE),
        **shown,
    )


# What is seen, how bad it is, what is said of it, what to do.
FAULTS: dict[str, tuple[Seen, Severity, str, str]] = {
    "key not pinned": (
        sound(**shows(certificate=STRANGE_DER), **lineage(live=STRANGE_CERTIFICATE)),
        CRITICAL,
        f"serves the key with the pin {STRANGE}, which is not among the pins",
        f"certbot renew --cert-name {HOST} --force-renewal",
    ),
    "key not pinned, the live one is": (
        sound(**shows(certificate=STRANGE_DER)),
        CRITICAL,
        "refuse it",
        f"Reload Apache. If that does not help, see that the site's certificate is live/{HOST}/",
    ),
    "key not in what only reports": (
        sound(REPORTING, **shows(REPORTS, certificate=STRANGE_DER)),
        WARNING,
        "Clients do not note such pins",
        "Reload Apache",
    ),
    "key not in earlier pins": (
        sound(ended(POLICY, policy(C, D))),
        WARNING,
        f"is pinned, but not everywhere. Clients that hold earlier pins refuse it until "
        f"{times.text(NOW + 59 * DAY)} at the latest.",
        "Nothing takes earlier pins back before that.",
    ),
    "key not in what an app carries": (
        sound(LEDGER.with_release(APP)),
        WARNING,
        f"Users of the release ios 3 x refuse it until {times.text(NOW + 30 * DAY)}.",
        f"If nobody uses the release ios 3 x any more, run: certbot-pinkeep release {RING} end "
        "--channel ios --label '3 x'",
    ),
    "a backup too early": (
        too_early(
            **shows((PKP, policy(LIVE, BACKUP).header_value), certificate=BACKUP_DER),
        ),
        CRITICAL,
        f"its key, with the pin {BACKUP}, is pinned, but not everywhere. Clients",
        f"All clients accept the key that is on record, with the pin {LIVE}",
    ),
    "a backup too early, in the files": (
        too_early(
            **shows((PKP, policy(LIVE, BACKUP).header_value)),
        ),
        CRITICAL,
        f"another key than the record has, with the pin {BACKUP}. Clients that hold earlier pins",
        "Do not reload Apache.",
    ),
    "a key of another type beside": (
        sound(
            shown=(
                SHOWN,
                replace(SHOWN, certificate=RSA_DER, key_type="rsa", address="192.0.2.1"),
            )
        ),
        CRITICAL,
        "which is not among the pins of the keyring ring. Clients that hold the pins",
        "Take the RSA certificate out of the site",
    ),
    "no certificate of a type": (
        sound(
            shown=(
                SHOWN,
                TlsObservation(HOST, stopped="type", error="handshake failure", key_type="ecdsa"),
            )
        ),
        WARNING,
        f"it serves no ECDSA certificate, but this machine has one ({HOST}): handshake failure.",
        f"Add the certificate live/{HOST}/fullchain.pem",
    ),
    "a chain that has expired": (
        sound(**shows(untrusted="certificate has expired", distrust="time")),
        CRITICAL,
        "of its chain is out of time (certificate has expired). Visitors refuse it",
        f"certbot renew --cert-name {HOST} --force-renewal",
    ),
    "a name that clients do not go by": (
        sound(**shows(untrusted="Hostname mismatch", distrust="name")),
        CRITICAL,
        f"its certificate is for {HOST}, so visitors refuse it",
        f"has the name {HOST}",
    ),
    "a certificate that makes no sense": (
        sound(**shows(certificate=b"nonsense")),
        CRITICAL,
        "check cannot read its certificate, and visitors may refuse it: it is no certificate",
        "Reload Apache",
    ),
    "nothing but another site for a wildcard": (
        sound(shown=(replace(SHOWN, host=OTHER, guessed=True),)),
        WARNING,
        f"another site answers here, for {HOST}. check looks at this name for a wildcard",
        "--connect HOST:PORT",
    ),
    "not the live certificate": (
        sound(**shows(certificate=OLD_DER)),
        WARNING,
        "does not serve the live certificate",
        "Reload Apache",
    ),
    "an expired one": (
        sound(**shows(certificate=EXPIRED_DER)),
        CRITICAL,
        "expired at",
        "Reload Apache",
    ),
    "another name": (
        sound(shown=(replace(SHOWN, host=OTHER),)),
        CRITICAL,
        f"its certificate is for {HOST}",
        f"has the name {OTHER}",
    ),
    "not trusted": (sound(**shows(untrusted="no root")), WARNING, "(no root)", "--ca-file"),
    "not reached": (
        sound(shown=(TlsObservation(HOST, stopped="unreachable", error="refused"),)),
        UNKNOWN,
        "could not be reached: refused.",
        "--connect HOST:PORT",
    ),
    "no TLS in time": (
        sound(shown=(TlsObservation(HOST, stopped="slow", error="it took longer"),)),
        UNKNOWN,
        "no TLS connection came about in time: it took longer.",
        "--timeout SECONDS",
    ),
    "no TLS": (
        sound(shown=(TlsObservation(HOST, stopped="tls", error="alert"),)),
        CRITICAL,
        "no TLS connection came about: alert.",
        "the server's error log",
    ),
    "no HTTP": (
        sound(shown=(TlsObservation(HOST, LIVE_DER, stopped="http", error="slow"),)),
        UNKNOWN,
        "no answer came over TLS",
        "--timeout",
    ),
    "no header": (
        sound(shown=(replace(SHOWN, headers=()),)),
        CRITICAL,
        "sends no Public-Key-Pins:",
        "See that Apache includes /s.conf",
    ),
    "two equal headers": (
        sound(**shows(TRUE_HEADER, TRUE_HEADER)),
        WARNING,
        "sends Public-Key-Pins 2 times",
        "Include the snippet once",
    ),
    "two headers": (
        sound(**shows(TRUE_HEADER, (PKP, "max-age=1"))),
        CRITICAL,
        "the first one only (RFC 7469 §2.3.1)",
        "Include the snippet once",
    ),
    "other max-age": (
        sound(**shows((PKP, policy(LIVE, B, max_age=1).header_value))),
        CRITICAL,
        "max-age is 1, not 5184000",
        "Reload Apache",
    ),
    "other pins": (
        sound(**shows((PKP, policy(LIVE, C).header_value))),
        CRITICAL,
        f"it lacks the pin {B}, it has the pin {C}",
        "Reload Apache",
    ),
    "the header of before it was pinned": (
        sound(
            earlier_headers.with_sent(LEDGER, policy(LIVE, C, max_age=10**7), (HOST,), NOW - DAY),
            **shows((PKP, policy(LIVE, C, max_age=10**7).header_value)),
        ),
        CRITICAL,
        "it still sends the Public-Key-Pins of before pinkeep pinned it",
        "Take the line that sends it out of the web server's configuration",
    ),
    "other extras": (
        sound(**shows((PKP, f"{POLICY.header_value}; includeSubDomains; report-uri=x"))),
        CRITICAL,
        "includeSubDomains is there, report-uri is x, not None",
        "Reload Apache",
    ),
    "no backup": (
        sound(**shows((PKP, f'pin-sha256="{LIVE}"; max-age=5184000'))),
        CRITICAL,
        "Clients do not note it (RFC 7469 §2.5): it has no backup pin",
        "Reload Apache",
    ),
    "no live pin": (
        sound(**shows((PKP, policy(B, C).header_value))),
        CRITICAL,
        "the served key is not among its pins",
        "Reload Apache",
    ),
    "malformed": (
        sound(**shows((PKP, "max-age"))),
        CRITICAL,
        "that clients ignore (RFC 7469 §2.1)",
        "Reload Apache",
    ),
    "an earlier header": (
        sound(ended(POLICY, policy(LIVE, B, C)), **shows((PKP, policy(LIVE, B, C).header_value))),
        CRITICAL,
        "still sends an earlier Public-Key-Pins",
        "Reload Apache",
    ),
    "the header of the keyring that was left": (
        sound(MOVED, **shows((PKP, MOVED_POLICY.header_value))),
        WARNING,
        "the pins of the keyring that its certificate has left",
        f"certbot-pinkeep confirm {RING}",
    ),
    "reports only": (
        sound(**shows(REPORTS)),
        CRITICAL,
        "no Public-Key-Pins, but Public-Key-Pins-Report-Only",
        "See that Apache includes /s.conf",
    ),
    "enforces what should only report": (
        sound(REPORTING, **shows(REPORTS, ENFORCING)),
        CRITICAL,
        "sends Public-Key-Pins, which clients enforce",
        "Reload Apache",
    ),
    "sent over plain HTTP": (
        sound(plain=(HttpObservation(HOST, (TRUE_HEADER, TRUE_HEADER)),)),
        WARNING,
        "over plain HTTP, which RFC 7469 §2.2.2 forbids",
        "Take out the other line",
    ),
}


@pytest.mark.parametrize(("seen", "severity", "what", "todo"), FAULTS.values(), ids=list(FAULTS))
def test_each_fault_is_found(seen: Seen, severity: Severity, what: str, todo: str) -> None:
    """One finding says it, as bad as it is, and what to do; none is worse."""
    found = check(seen, NOW)
    told = [one for one in found if what in one.what]
    assert [one.severity for one in told] == [severity], found
    assert todo in told[0].todo
    assert exit_code(found) == severity


def test_pins_that_are_sent_though_it_was_unpinned_are_critical() -> None:
    """Clients note them anew, and nobody keeps the key for them."""
    fresh = replace(LINEAGE, live=replace(LIVE_CERTIFICATE, end=NOW + 190 * DAY))
    seen = sound(LEFT, unpin=True, lineages=(fresh,), **shows(TRUE_HEADER))
    (told,) = check(seen, NOW + 100 * DAY)
    assert told.severity == CRITICAL and "but the keyring ring is unpinned" in told.what


def test_what_waits_for_apache_is_told_once() -> None:
    """Neither the header that is still sent nor the one that is sent already is a fault of its own."""
    for header in (POLICY, policy(LIVE, B, max_age=60)):
        (told,) = check(sound(PENDING, **shows((PKP, header.header_value))), NOW)
        assert "not known to have loaded" in told.what
    reporting = LEDGER.record(policy(LIVE, B, report_only=True), NOW, (HOST,))
    assert len(check(sound(reporting), NOW)) == 1


ROLLED = replace(
    KEYRING,
    members=(Member(HOST, (HOST,), BACKUP),),
    keys=(
        replace(KEYS[0], role="retired"),
        replace(KEYS[1], pin=BACKUP, role="primary"),
        ring_key(C, path=None),
    ),
)


ROLLING = (
    Ledger()
    .record(policy(LIVE, BACKUP), NOW - 10 * DAY, (HOST,))
    .confirm(NOW - 10 * DAY)
    .record(policy(BACKUP, C), NOW - HOUR, (HOST,))
)


def rolled(ledger: Ledger = ROLLING, **changes: Any) -> Seen:
    """A rollover that Apache has not loaded: it serves the old key and sends the old pins."""
    before = {"headers": ((PKP, policy(LIVE, BACKUP).header_value),), **changes}
    requests = frozenset({csr_request(BACKUP, [HOST], must_staple=False)})
    live = lineage(live=BACKUP_CERTIFICATE)
    return sound(
        ledger, keyring=ROLLED, requests=requests, shown=(replace(SHOWN, **before),), **live
    )


def test_the_key_of_before_waits_for_apache_as_its_header_does() -> None:
    """Nobody holds the new pins yet, and who holds the old ones accepts it."""
    (told,) = check(rolled(), NOW)
    assert told.severity == WARNING and "not known to have loaded" in told.what


def test_the_key_of_before_is_critical_once_the_new_pins_are_sent() -> None:
    """And if what Apache had loaded lacks it, whatever waits."""
    sent = rolled(headers=((PKP, policy(BACKUP, C).header_value),))
    for seen in (sent, rolled(certificate=STRANGE_DER), rolled(ROLLING.confirm(NOW))):
        told = [one for one in check(seen, NOW) if "is not among the pins" in one.what]
        assert [one.severity for one in told] == [CRITICAL]


def test_if_addresses_differ_the_address_is_told() -> None:
    """One of two servers was not reloaded."""
    stale = replace(SHOWN, certificate=OLD_DER, address="192.0.2.2")
    (told,) = check(sound(shown=(replace(SHOWN, address="192.0.2.1"), stale)), NOW)
    assert told.where == f"{HOST} (192.0.2.2)"
