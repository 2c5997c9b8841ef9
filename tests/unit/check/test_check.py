"""The rules of ``certbot-pinkeep check``: a fault each, how bad it is, and the words."""

from __future__ import annotations

import io
import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from certbot.configuration import NamespaceConfig
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from certbot_pinkeep.adapters import clock, probe, renewal_conf
from certbot_pinkeep.carriers import apache
from certbot_pinkeep.check import check
from certbot_pinkeep.check.findings import Finding, Severity, exit_code, lines
from certbot_pinkeep.check.local_files import LocalFiles
from certbot_pinkeep.cli import main
from certbot_pinkeep.core import certificate as certificates
from certbot_pinkeep.core import earlier, times
from certbot_pinkeep.core.errors import ApacheFailed, BadKey, BadOption
from certbot_pinkeep.core.key_and_csr import csr_request
from certbot_pinkeep.core.keyring import Keyring, Member
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.observations import (
    FileInfo,
    HttpObservation,
    KeyFile,
    Lineage,
    Seen,
    Target,
    TlsObservation,
    targets,
)
from certbot_pinkeep.core.options import Options
from certbot_pinkeep.core.state import State
from certbot_pinkeep.storage import atomic
from certbot_pinkeep.storage.store import Store
from certbot_pinkeep.workflow import requests as wishes
from simulated.machine import Site
from simulated.seen import (
    APP,
    BACKUP,
    BACKUP_CERTIFICATE,
    BACKUP_DER,
    BELOW,
    COMPROMISED,
    COVERING,
    EARLY,
    ENFORCING,
    EXPIRED_DER,
    HOST,
    KEYRING,
    KEYS,
    LEAVING,
    LEDGER,
    LEFT,
    LINEAGE,
    LIVE,
    LIVE_CERTIFICATE,
    LIVE_DER,
    MOVED,
    MOVED_POLICY,
    NEVER_LOADED,
    OLD_CERTIFICATE,
    OLD_DER,
    OTHER,
    PENDING,
    PKP,
    POLICY,
    REPORTING,
    REPORTS,
    REQUESTS,
    RING,
    RSA_DER,
    SHOWN,
    STRANGE,
    STRANGE_CERTIFICATE,
    STRANGE_DER,
    TRUE_HEADER,
    UNPIN,
    digest_of,
    ended,
    lineage,
    parsed,
    shows,
    sound,
    with_key,
)
from simulated.values import (
    DAY,
    EC,
    HOUR,
    NOW,
    RSA,
    A,
    B,
    C,
    D,
    E,
    make_pem,
    policy,
    ring_key,
)

OK, WARNING, CRITICAL, UNKNOWN = Severity
# What is seen, how bad it is, what is said of it, what to do.
FAULTS: dict[str, tuple[Seen, Severity, str, str]] = {
    # What hosts show
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
        sound(
            ended(policy(LIVE, BACKUP), policy(LIVE, C)),
            keyring=EARLY,
            requests=frozenset(
                csr_request(pin, [HOST], must_staple=False) for pin in (LIVE, BACKUP)
            ),
            **lineage(live=BACKUP_CERTIFICATE),
            **shows((PKP, policy(LIVE, BACKUP).header_value), certificate=BACKUP_DER),
        ),
        CRITICAL,
        f"its key, with the pin {BACKUP}, is pinned, but not everywhere. Clients",
        f"All clients accept the key that is on record, with the pin {LIVE}",
    ),
    "a backup too early, in the files": (
        sound(
            ended(policy(LIVE, BACKUP), policy(LIVE, C)),
            keyring=EARLY,
            requests=frozenset(
                csr_request(pin, [HOST], must_staple=False) for pin in (LIVE, BACKUP)
            ),
            **lineage(live=BACKUP_CERTIFICATE),
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
        "of its chain is out of time (certificate has expired), so visitors refuse it",
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
            earlier.with_sent(LEDGER, policy(LIVE, C, max_age=10**7), (HOST,), NOW - DAY),
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
    # The record
    "in doubt": (
        sound(LEDGER.contradicted("it was lost", [])),
        WARNING,
        "it was lost. pinkeep rolls no key over",
        "Run: certbot renew",
    ),
    "behind the ledger": (
        sound(LEDGER.with_latest_known(NOW + DAY)),
        WARNING,
        "was reached before. pinkeep rolls no key over",
        f"confirm {RING} --clock",
    ),
    "behind the shadow": (
        sound(latest_known=NOW + DAY),
        WARNING,
        "was reached before",
        "Set the clock right",
    ),
    "nothing published": (
        sound(Ledger()),
        WARNING,
        "nothing is published yet",
        "Run: certbot renew",
    ),
    "pending": (
        sound(PENDING),
        WARNING,
        "Apache is not known to have loaded",
        "Run: certbot renew",
    ),
    "pending with the admin": (
        sound(PENDING, reloads=False),
        WARNING,
        "Apache is not known to have loaded",
        f"Reload Apache, and run: certbot-pinkeep confirm {RING}",
    ),
    "kept back by Apache's test": (
        sound(
            PENDING, snippet=apache.render(KEYRING, POLICY), configtest="/sbin/apachectl configtest"
        ),
        WARNING,
        f"the pins of {times.text(NOW - HOUR)} are not in place, and those of before stay: the "
        "configuration test of Apache failed",
        "Run: /sbin/apachectl configtest -- mend what it finds, and run: certbot renew",
    ),
    "the first one kept back, reload with the admin": (
        sound(
            NEVER_LOADED,
            state=State(KEYRING, NEVER_LOADED),
            snippet=None,
            reloads=False,
            shown=(replace(SHOWN, headers=()),),
        ),
        WARNING,
        "are not in place, and those of before stay: the configuration test of Apache failed",
        f"Run: certbot renew; then reload Apache, and run: certbot-pinkeep confirm {RING}",
    ),
    "an older snippet put back after the test": (
        sound(
            PENDING,
            state=State(KEYRING, PENDING, "/s.conf", tested=digest_of(KEYRING, PENDING)),
            snippet=apache.render(KEYRING, POLICY),
        ),
        CRITICAL,
        "the snippet is not what was published",
        "certbot renew -- it writes the snippet anew",
    ),
    "pending for the first time": (
        sound(NEVER_LOADED, shown=(replace(SHOWN, headers=()),)),
        WARNING,
        "Apache is not known to have loaded",
        "See that Apache includes /s.conf.",
    ),
    "came from another keyring": (
        sound(came=("api",)),
        WARNING,
        "api came from another keyring",
        f"certbot-pinkeep confirm {RING}",
    ),
    "compromised": (
        sound(keyring=COMPROMISED, latest_known=NOW),
        CRITICAL,
        f"the key with the pin {LIVE}, which is compromised",
        f"certbot-pinkeep rollover {RING} --now",
    ),
    "compromised, no safe backup": (
        sound(ended(POLICY, policy(LIVE, C)), keyring=COMPROMISED),
        CRITICAL,
        "which is compromised",
        f"certbot-pinkeep rollover {RING} --now --force",
    ),
    "a rollover that waits for the admin": (
        sound(
            keyring=with_key(path=None).mark_for_retirement("asked"),
            requests=frozenset({csr_request(LIVE, [HOST], must_staple=False)}),
            keys=(),
        ),
        WARNING,
        "a rollover is due (you asked for it), but renewals keep the current key: the private key of "
        f"its next backup, with the pin {B}, is not on this machine.",
        f"Run: certbot-pinkeep backup {RING} add --key FILE",
    ),
    # Files
    "snippet edited": (
        sound(snippet=f"{apache.first_line(RING)}\nHeader always set X y"),
        CRITICAL,
        "the snippet is not what was published",
        "Run: certbot renew -- it writes the snippet anew",
    ),
    "snippet for other hosts": (
        sound(snippet=apache.render(replace(KEYRING, members=()), POLICY)),
        CRITICAL,
        "the snippet sends the pins at other hosts than the keyring's",
        "Run: certbot renew -- it writes the snippet anew",
    ),
    "another file in the place of the snippet": (
        sound(snippet="Header always set X y"),
        CRITICAL,
        "another file is in the place of the snippet, and pinkeep does not overwrite that",
        "Run: mv /s.conf /s.conf.other -- then run: certbot renew -- it writes the snippet anew",
    ),
    "snippet gone, reload with the admin": (
        sound(snippet=None, reloads=False),
        CRITICAL,
        "the snippet is gone",
        f"then reload Apache, and run: certbot-pinkeep confirm {RING}",
    ),
    "backup lost": (
        sound(keys=(KeyFile(B, "/k/1", "It is gone."),)),
        CRITICAL,
        "It is gone. pinkeep cannot use this backup.",
        "Restore /k/1 from a backup.",
    ),
    "encrypted backup lost": (
        sound(
            keyring=with_key(path=None, encrypted="keys/1.pem"),
            keys=(KeyFile(B, "/k/1", "It is gone.", sealed=True),),
        ),
        CRITICAL,
        "It is gone. It is the encrypted key of a backup",
        f"certbot-pinkeep backup {RING} add --keep-encrypted --key FILE",
    ),
    "primary lost": (
        sound(keys=(KeyFile(LIVE, "/k/0", "It is gone."),)),
        CRITICAL,
        "The next renewal needs that key",
        "certbot renew -- it takes the key",
    ),
    "no CSR": (
        sound(requests=frozenset({csr_request(LIVE, [HOST], must_staple=False)})),
        WARNING,
        f"{HOST} has no saved CSR for the backup key",
        "certbot renew",
    ),
    "CSR for other names": (
        sound(
            requests=frozenset(
                csr_request(pin, [HOST, OTHER], must_staple=False) for pin in (LIVE, B)
            ),
            keyring=with_key(path=None),
        ),
        WARNING,
        "has no saved CSR",
        "certbot renew",
    ),
    "snippet edited, pinning left, no certificate": (
        sound(
            LEAVING,
            unpin=True,
            snippet=f"{apache.first_line(RING)}\nHeader always set X y",
            step=UNPIN,
            shown=(),
            lineages=(Lineage(HOST, deleted=True),),
        ),
        CRITICAL,
        "the snippet is not what was published",
        f"Run: {UNPIN} -- it writes the snippet anew",
    ),
    "in doubt, no certificate": (
        sound(
            LEDGER.contradicted("it was lost", []),
            step=UNPIN,
            shown=(),
            lineages=(Lineage(HOST, deleted=True),),
        ),
        WARNING,
        "it was lost. pinkeep rolls no key over",
        f"Run: {UNPIN} (to stay pinned, ask for a certificate with --pinkeep-keyring {RING})",
    ),
    "pending, no certificate": (
        sound(PENDING, step=UNPIN, shown=(), lineages=(Lineage(HOST, deleted=True),)),
        WARNING,
        "Apache is not known to have loaded",
        f"Reload Apache, and run: certbot-pinkeep confirm {RING}",
    ),
    "primary lost, no certificate": (
        sound(
            keys=(KeyFile(LIVE, "/k/0", "It is gone."),),
            step=UNPIN,
            shown=(),
            lineages=(Lineage(HOST, deleted=True),),
        ),
        CRITICAL,
        "It is gone. The next certificate needs that key",
        "Restore /k/0 from a backup.",
    ),
    "foreign owner of a key": (
        sound(places=(FileInfo("/k/0", "key", 0o600, 1000),)),
        CRITICAL,
        "belongs to the user 1000, but the user 0 runs certbot",
        "Run: chown 0 /k/0",
    ),
    "foreign owner of the snippet": (
        sound(places=(FileInfo("/s.conf", "snippet", 0o644, 33),)),
        CRITICAL,
        "belongs to the user 33",
        "Run: chown 0 /s.conf",
    ),
    "record folder open": (
        sound(places=(FileInfo("/pinkeep", "records", 0o777, 0),)),
        CRITICAL,
        "the folder of the keyring files and other users can use it: its mode is 0777",
        "Run: chmod go-w /pinkeep",
    ),
    "foreign owner of the snippet's folder": (
        sound(places=(FileInfo("/pinkeep/apache", "snippets", 0o755, 33),)),
        CRITICAL,
        "belongs to the user 33",
        "Run: chown 0 /pinkeep/apache",
    ),
    "the admin's own folder open": (
        sound(places=(FileInfo("/snippets", "foreign snippets", 0o777, 0),), owner=1000),
        CRITICAL,
        "its mode is 0777",
        "Run: chmod o-w /snippets",
    ),
    "keyring file readable": (
        sound(places=(FileInfo("/r.conf", "keyring", 0o644, 0),)),
        WARNING,
        "its mode is 0644",
        "Run: chmod 0600 /r.conf",
    ),
    "keyring file writable": (
        sound(places=(FileInfo("/r.conf", "keyring", 0o620, 0),)),
        CRITICAL,
        "its mode is 0620",
        "Run: chmod 0600 /r.conf",
    ),
    "key open": (
        sound(places=(FileInfo("/k/0", "key", 0o640, 0),)),
        CRITICAL,
        "its mode is 0640",
        "Run: chmod 0600 /k/0",
    ),
    "folder of CSRs open": (
        sound(places=(FileInfo("/csr", "csrs", 0o777, 0),)),
        WARNING,
        "its mode is 0777",
        "Run: chmod 0755 /csr",
    ),
    # Certificates
    "renewal overdue": (
        sound(**lineage(live=replace(LIVE_CERTIFICATE, begin=NOW - 76 * DAY, end=NOW + 14 * DAY))),
        WARNING,
        "Certbot should have renewed it by now",
        f"certbot renew --cert-name {HOST}",
    ),
    "expired": (
        sound(**lineage(live=replace(LIVE_CERTIFICATE, end=NOW))),
        CRITICAL,
        "its certificate expired at",
        f"certbot renew --cert-name {HOST}",
    ),
    "not valid yet": (
        sound(**lineage(live=replace(LIVE_CERTIFICATE, begin=NOW + HOUR))),
        CRITICAL,
        "is not valid before",
        "the clock",
    ),
    "live key not pinned": (
        sound(**lineage(live=STRANGE_CERTIFICATE)),
        CRITICAL,
        "Clients refuse it as soon as Apache serves it",
        "Do not reload Apache. Run: certbot renew",
    ),
    "live key not on record": (
        sound(keyring=replace(KEYRING, members=(Member(HOST, (HOST,), B),))),
        WARNING,
        "another key than the record has",
        "certbot renew",
    ),
    "live key lost": (
        sound(**lineage(key_error="It is gone.")),
        CRITICAL,
        "It is gone.",
        "--force-renewal",
    ),
    "renewal file damaged": (
        sound(**lineage(live=None, error="It is damaged.")),
        CRITICAL,
        "It is damaged.",
        "certbot certonly",
    ),
    "no reuse_key": (
        sound(**lineage(reuse_key=False)),
        WARNING,
        "has no 'reuse_key = True'",
        f"Run: certbot renew --cert-name {HOST}",
    ),
    "reuse_key taken back by cli.ini": (
        sound(**lineage(reuse_key=False, cli_ini=("reuse-key = false",))),
        WARNING,
        "cli.ini says 'reuse-key = false'. Without pinkeep",
        "Take 'reuse-key = false' out of cli.ini. Run: certbot renew",
    ),
    "an option that is refused": (
        sound(**lineage(refused=BadOption("--pinkeep-max-age", "soon", "give a number."))),
        WARNING,
        "'certbot renew' fails, and does not bring its keys and pins up to date: --pinkeep-max-age 'soon'",
        f"certbot renew --cert-name {HOST} --installer pinkeep --pinkeep-max-age VALUE",
    ),
    "deleted": (
        sound(**lineage(live=None, deleted=True)),
        WARNING,
        "no certificate of the keyring any more",
        f"certbot certonly --installer pinkeep --pinkeep-keyring {RING}",
    ),
    "not covered": (
        sound(
            COVERING,
            others=(BELOW,),
            **shows((PKP, policy(LIVE, B, include_subdomains=True).header_value)),
        ),
        CRITICAL,
        "includeSubDomains covers certificates whose keys are not pinned: deep",
        f"--pinkeep-keyring {RING}",
    ),
    "includeSubDomains left out": (
        sound(others=(BELOW,), chosen=Options(RING, include_subdomains=True)),
        WARNING,
        "includeSubDomains is left out, which would cover deep",
        "certbot renew",
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


TYPES = Keyring(
    RING,
    (Member(HOST, (HOST, "*.example.com", "192.0.2.1"), A), Member("rsa", (HOST,), D)),
    (ring_key(A, "primary", EC), ring_key(B, kind=EC), ring_key(D, "primary", RSA), ring_key(E)),
)
SOUND = {
    "as it should be": sound(),
    "a snippet of version 0.1, which names no hosts": sound(
        snippet=apache.render(KEYRING, POLICY).partition(" && ")[0] + '"\n</IfModule>\n'
    ),
    "pins in another order": sound(**shows((PKP, policy(B, LIVE).header_value))),
    "an offline backup": sound(keyring=with_key(path=None), requests=REQUESTS, keys=()),
    "an offline backup without a CSR": sound(
        keyring=with_key(path=None),
        requests=frozenset({csr_request(LIVE, [HOST], must_staple=False)}),
    ),
    "a retired key": sound(keyring=KEYRING.with_keys([ring_key(C, "retired")])),
    "a rollover that is held": sound(
        ended(POLICY, policy(LIVE, C)), keyring=KEYRING.mark_for_retirement("asked")
    ),
    "another site for a wildcard": sound(
        shown=(SHOWN, replace(SHOWN, host=OTHER, guessed=True, headers=(), distrust="name"))
    ),
    "a type that no certificate has": sound(
        shown=(
            SHOWN,
            TlsObservation(HOST, stopped="type", error="handshake failure", key_type="rsa"),
        )
    ),
    "reports as well": sound(**shows(TRUE_HEADER, REPORTS)),
    "reports only": sound(REPORTING, **shows(REPORTS)),
    "unpinning": sound(
        LEAVING, unpin=True, **shows((PKP, policy(LIVE, B, max_age=0).header_value))
    ),
    "unpinned, header to go": sound(
        LEFT, unpin=True, **shows((PKP, policy(LIVE, B, max_age=0).header_value))
    ),
    "unpinned": sound(LEFT, unpin=True, shown=(replace(SHOWN, headers=()),), snippet="# nothing\n"),
    "a group that reads the live key": sound(places=(FileInfo("/l", "live key", 0o640, 0),)),
    "a group that writes the admin's own folder": sound(
        places=(FileInfo("/snippets", "foreign snippets", 0o775, 0),), owner=1000
    ),
    "a late renewal that was chosen": sound(
        **lineage(
            live=replace(LIVE_CERTIFICATE, begin=NOW - 83 * DAY, end=NOW + 7 * DAY),
            renew_before=10 * DAY,
        )
    ),
    "another one was deleted": sound(lineages=(LINEAGE, Lineage("gone", deleted=True))),
    "not covered, without includeSubDomains": sound(others=(BELOW,)),
    "the live certificate of a lineage that is not enrolled": sound(
        others=(OLD_CERTIFICATE,), **shows(certificate=OLD_DER)
    ),
    "covered with a pinned key": sound(
        COVERING,
        others=(replace(BELOW, pin=B),),
        **shows((PKP, policy(LIVE, B, include_subdomains=True).header_value)),
    ),
}


@pytest.mark.parametrize("seen", SOUND.values(), ids=list(SOUND))
def test_nothing_is_said_of_what_is_sound(seen: Seen) -> None:
    """Warnings are rare enough to be read."""
    now = NOW + 100 * DAY if seen.state.ledger is LEFT else NOW
    if now != NOW:
        fresh = replace(LIVE_CERTIFICATE, end=now + 60 * DAY)
        lineages = tuple(replace(one, live=one.live and fresh) for one in seen.lineages)
        seen = replace(seen, lineages=lineages)
    assert check(seen, now) == []


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
    """And where what Apache had loaded lacks it, whatever waits."""
    sent = rolled(headers=((PKP, policy(BACKUP, C).header_value),))
    for seen in (sent, rolled(certificate=STRANGE_DER), rolled(ROLLING.confirm(NOW))):
        told = [one for one in check(seen, NOW) if "is not among the pins" in one.what]
        assert [one.severity for one in told] == [CRITICAL]


def test_where_addresses_differ_the_address_is_told() -> None:
    """One of two servers was not reloaded."""
    stale = replace(SHOWN, certificate=OLD_DER, address="192.0.2.2")
    (told,) = check(sound(shown=(replace(SHOWN, address="192.0.2.1"), stale)), NOW)
    assert told.where == f"{HOST} (192.0.2.2)"


def test_hosts_are_looked_at_by_name_and_key_type() -> None:
    """A wildcard as one label below it, an address not at all; both types where there are two."""
    assert targets(TYPES) == [
        Target(HOST, key_types=("ecdsa", "rsa")),
        Target("pinkeep-check.example.com", optional=True, guessed=True),
    ]
    moved = replace(TYPES, members=tuple(replace(m, transferred="other") for m in TYPES.members))
    assert targets(moved) == []


def test_wildcard_is_looked_at_all_the_same_where_there_is_no_other_name() -> None:
    """Else a keyring would be sound of which nothing was looked at."""
    member = replace(TYPES.members[0], hosts=("*.example.com", "192.0.2.1"))
    assert targets(replace(TYPES, members=(member,))) == [
        Target("pinkeep-check.example.com", optional=False, guessed=True)
    ]


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
    """For certificates of a year, of ninety days, and of six; and where the admin sets that time."""
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
        with pytest.raises(BadKey, match="can be read"):
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


def finding(severity: Severity, where: str = "x", what: str = "it is bad.") -> Finding:
    """Any finding."""
    return Finding(severity, where, what, "Mend it.")


@given(st.lists(st.sampled_from([WARNING, CRITICAL, UNKNOWN])))
def test_the_worst_finding_counts(severities: list[Severity]) -> None:
    """Critical before warning before unknown before ok, in the exit code, the summary and the lines."""
    found = [finding(severity, str(number)) for number, severity in enumerate(severities)]
    worst = next((one for one in (CRITICAL, WARNING, UNKNOWN) if one in severities), OK)
    summary, *told = lines(found, "all is well")
    assert exit_code(found) == worst and summary.startswith(f"PINKEEP {worst.name} - ")
    assert len(told) == len(found)
    assert [line.split(":")[0] for line in told[:1]] == ([worst.name] if found else [])


def test_lines_are_what_monitoring_takes() -> None:
    """One line each, without performance data; a finding once."""
    bad = finding(CRITICAL, what="it\nis | bad.")
    assert lines([bad, bad], "") == [
        "PINKEEP CRITICAL - x: it is / bad.",
        "CRITICAL: x: it is / bad. Mend it.",
    ]
    assert lines([], "2 hosts") == ["PINKEEP OK - 2 hosts"]
    assert lines([bad, finding(WARNING)], "")[0].endswith("(and 1 more)")


# The command and the files, without a network


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A lineage that is pinned; its host shows what it should."""
    found = Site(tmp_path)
    found.copies = False
    monkeypatch.setattr(clock, "now", lambda: NOW)
    found.keep()
    renewal_conf.remember(str(found.config), found.name, "pinkeep")

    def look(
        wanted: list[Target], way: probe.Way
    ) -> tuple[list[TlsObservation], list[HttpObservation]]:
        pem = (found.config / "live" / found.name / "cert.pem").read_bytes()
        der, _ = parsed(pem)
        header = (PKP, found.published().header_value)
        return [TlsObservation(target.name, der, (header,)) for target in wanted], []

    monkeypatch.setattr(probe, "look", look)
    return found


def call(site: Site, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str]]:
    """The exit code and the lines; nothing on standard error."""
    folders = {"config": site.config, "work": site.work, "logs": site.root / "logs"}
    capsys.readouterr()
    code = main.main(["check", *words, *(f"--{name}-dir={path}" for name, path in folders.items())])
    out, err = capsys.readouterr()
    assert err == ""
    return code, out.splitlines()


Said = pytest.CaptureFixture[str]


def test_the_command_is_silent_where_all_is_sound(site: Site, capsys: Said) -> None:
    """One line, exit code 0; the same where the keyring is named."""
    said = (0, ["PINKEEP OK - 1 keyring, 2 hosts: keys, headers and files are sound"])
    assert call(site, capsys) == said == call(site, capsys, site.name)


def test_a_damaged_file_is_critical_and_others_are_looked_at(site: Site, capsys: Said) -> None:
    """Its error says what to do."""
    damaged = site.file.with_name("damaged.conf")
    damaged.write_text("nonsense\n")
    (site.config / "keys").chmod(0o755)
    code, said = call(site, capsys)
    assert code == CRITICAL and said[0].endswith("(and 1 more)")
    assert any("damaged" in line and "Restore the file from a backup" in line for line in said[1:])


def test_whatever_goes_wrong_is_unknown(
    site: Site, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never a traceback; one line."""
    assert call(site, capsys, "missing")[0] == UNKNOWN

    def fail(error: Exception) -> Callable[..., None]:
        def raise_(*_: object) -> None:
            raise error

        return raise_

    for error, words in (
        (ZeroDivisionError("by | zero"), "the check itself failed (ZeroDivisionError: by / zero)"),
        (PermissionError(13, "Permission denied", "/x"), "/x cannot be read: Permission denied."),
    ):
        monkeypatch.setattr(probe, "look", fail(error))
        code, said = call(site, capsys)
        assert code == UNKNOWN and len(said) == 1 and words in said[0]


@pytest.mark.parametrize(
    "word",
    [
        "--connect=example.com",
        "--connect=:443",
        "--connect=x:y",
        "--connect=a@b:1",
        "--connect-http=x:99999",
        "--timeout=0",
        "--timeout=x",
        "--timeout=nan",
        "--bogus",
        "--connect",
    ],
)
def test_bad_usage_is_refused(site: Site, capsys: Said, word: str) -> None:
    """Unknown, in one line on standard output: monitoring takes 2 for critical."""
    with pytest.raises(SystemExit) as left:
        call(site, capsys, word)
    out, err = capsys.readouterr()
    (line,) = out.splitlines()
    assert (left.value.code, err) == (UNKNOWN, "")
    assert line.startswith("PINKEEP UNKNOWN - check: ") and line.count("check --help") == 1


@pytest.mark.parametrize(
    "words", [["--timeout", "5", "check"], ["--bogus", "check"], ["-c", "check"]]
)
def test_bad_usage_before_the_name_is_refused_as_well(words: list[str], capsys: Said) -> None:
    """Whoever wrote it meant this command."""
    with pytest.raises(SystemExit) as left:
        main.main(words)
    out, err = capsys.readouterr()
    assert (left.value.code, err) == (UNKNOWN, "") and len(out.splitlines()) == 1


def test_bad_usage_of_another_command_is_one(capsys: Said) -> None:
    """Also where a keyring is called so."""
    for words in (["rollover", "check", "--bogus"], ["roll", "check"]):
        with pytest.raises(SystemExit) as left:
            main.main(words)
        out, err = capsys.readouterr()
        assert (left.value.code, out) == (2, "") and err


def test_what_certbot_refuses_is_unknown(site: Site, capsys: Said) -> None:
    """Its own words, without how certbot is used."""
    ini = site.config / "cli.ini"
    for content, why in (
        (b"nonsense = 1\n", "--nonsense=1"),
        (b"pinkeep-include-subdomains = maybe\n", "'maybe'"),
        (b"email = \xff\n", "codec"),
        (None, "Unable to open config file"),
    ):
        ini.unlink(missing_ok=True)
        if content is not None:
            ini.write_bytes(content)
        code, (line,) = call(site, capsys, f"--config={ini}")
        assert code == UNKNOWN and "does not accept its configuration" in line and why in line


def test_what_the_terminal_cannot_show_is_no_failure(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code is that of the finding."""
    monkeypatch.setattr(
        probe, "look", lambda *_: ([], [HttpObservation(site.name, (TRUE_HEADER,))])
    )
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, "ascii", write_through=True))
    assert main.main(["check", f"--config-dir={site.config}", f"--work-dir={site.work}"]) == 1
    assert b"RFC 7469 \\xa72.2.2" in shown.getvalue()


def test_a_keyring_that_cannot_be_looked_at_leaves_the_others(
    site: Site, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is unknown; what is critical counts."""
    monkeypatch.setattr(probe, "look", lambda *_: ([], []))
    site.file.with_name("damaged.conf").write_text("nonsense\n")
    site.snippet.unlink()
    site.snippet.mkdir()
    code, said = call(site, capsys)
    assert code == CRITICAL and len(said) == 3
    assert "damaged" in said[1] and said[2].startswith(f"UNKNOWN: {site.name}: ")


def test_a_keyring_file_that_must_not_be_read_is_unknown(
    site: Site, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be sound: nobody is told to move it away."""
    real = atomic.read_closed

    def closed(path: str, largest: int, *more: Any) -> bytes:
        if path == str(site.file):
            raise PermissionError(13, "Permission denied", path)
        return real(path, largest, *more)

    monkeypatch.setattr(atomic, "read_closed", closed)
    code, said = call(site, capsys)
    assert code == UNKNOWN and len(said) == 2
    assert "Permission denied. Run this as the user who runs certbot" in said[1]
    assert "move it away" not in said[1]


def test_a_lost_record_is_told(site: Site, capsys: Said) -> None:
    """Where another keyring is there still; not where a damaged one may have it."""
    text = site.renewal.read_text()
    (site.config / "renewal" / "other.example.conf").write_text(text)
    (site.config / "live" / "other.example").symlink_to(site.name)
    code, said = call(site, capsys)
    assert code == WARNING and len(said) == 2
    assert "other.example: pinkeep renews it, by its renewal file, but no keyring has it" in said[1]
    assert call(site, capsys, site.name)[0] == OK
    site.file.with_name("other.example.conf").write_text("nonsense\n")
    code, said = call(site, capsys)
    assert code == CRITICAL and len(said) == 2
    for path in site.file.parent.glob("other*"):
        path.unlink()
    (site.config / "renewal" / "other.example.conf").write_text(text.replace("pinkeep", "apache"))
    assert call(site, capsys)[0] == OK


def test_a_run_that_is_at_work_meanwhile_is_no_fault(
    site: Site, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changed while hosts were looked at is looked at again."""
    sound_look, looks = probe.look, []

    def look(wanted: Any, way: Any) -> Any:
        found = sound_look(wanted, way)
        looks.append(found)
        if len(looks) == 1:
            site.keep(site.options(max_age=60))
        return found

    monkeypatch.setattr(probe, "look", look)
    assert call(site, capsys)[0] == OK and len(looks) == 2


def test_a_run_that_holds_the_lock_is_waited_for(
    site: Site, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where something is found; not for ever, and the lock is not taken."""
    sound_look = probe.look
    waited: list[float] = []
    busy = True

    def look(wanted: Any, way: Any) -> Any:
        if not busy:
            return sound_look(wanted, way)
        return [TlsObservation(target.name, stopped="tls", error="busy") for target in wanted], []

    monkeypatch.setattr(probe, "look", look)
    monkeypatch.setattr(time, "sleep", waited.append)
    with atomic.locked(str(site.config / "pinkeep")):
        monkeypatch.setattr(time, "monotonic", iter(range(0, 10**6, 20)).__next__)
        assert call(site, capsys, "--timeout=30")[0] == CRITICAL
    assert len(waited) == 1
    lock = ExitStack()

    def sleep(_: float) -> None:
        nonlocal busy
        busy = False
        lock.close()

    monkeypatch.setattr(time, "sleep", sleep)
    with lock:
        lock.enter_context(atomic.locked(str(site.config / "pinkeep")))
        assert call(site, capsys, "--timeout=90")[0] == OK


def test_addresses_of_version_6_can_be_given(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    """In brackets, as in URLs."""
    ways: list[probe.Way] = []

    def look(_: object, way: probe.Way) -> tuple[list[TlsObservation], list[HttpObservation]]:
        ways.append(way)
        return [], []

    monkeypatch.setattr(probe, "look", look)
    call(site, capsys, "--connect=[2001:db8::1]:443", "--timeout=3")
    assert ways == [probe.Way(("2001:db8::1", 443), None, 3.0, None)]


def test_files_are_surveyed(site: Site) -> None:
    """Owners, links, hooks, other certificates: as they are, and nothing of it is changed."""
    before = site.tree()
    survey = LocalFiles(str(site.config), site.keeper.store)
    seen = survey.look(site.state(), NOW, [], [])
    assert site.tree() == before
    assert {place.owner for place in seen.places} == {os.geteuid()} and seen.owner == os.geteuid()
    kinds = [place.kind for place in seen.places]
    assert kinds == [
        *("keys", "csrs", "records", "keyring", "snippets", "snippet"),
        *("key", "key", "key", "live key"),
    ]


def test_who_strayed_is_told_and_not_all_others(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """g7: one folder of somebody else's does not have the private keys given to him."""
    real = os.stat

    def stat(path: Any, **more: Any) -> os.stat_result:
        found = list(real(path, **more))
        found[4] = 1000 if str(path) in strayed else owner
        return os.stat_result(found)

    def told(user: int) -> list[str]:
        monkeypatch.setattr(os, "geteuid", lambda: user)
        monkeypatch.setattr(os, "stat", stat)
        seen = LocalFiles(str(site.config), site.keeper.store).look(site.state(), NOW, [], [])
        monkeypatch.undo()
        return [one.todo for one in check(seen, NOW) if "chown" in one.todo]

    records = str(site.config / "pinkeep")
    strayed, owner = {records}, 0
    assert told(0) == [f"Run: chown 0 {records}"]
    strayed, owner = {records}, 33  # root looks at what another user keeps
    assert told(0) == told(33) == [f"Run: chown 33 {records}"]


def test_the_admins_own_folder_of_snippets_is_looked_at(site: Site) -> None:
    """It is not the plugin's: a group may write there."""
    own = site.root / "snippets"
    own.mkdir()
    site.keep(site.options(snippet_dir=str(own)))
    seen = LocalFiles(str(site.config), site.keeper.store).look(site.state(), NOW, [], [])
    assert [place.path for place in seen.places if place.kind == "foreign snippets"] == [str(own)]


def keyring_in(config: Path, name: str) -> State:
    """A keyring's state in a config dir that was moved."""
    state = Store(str(config)).load(name)
    assert state is not None
    return state


def test_reuse_key_in_cli_ini_counts_for_each_renewal(site: Site, capsys: Said) -> None:
    """It comes before what the renewal file says, in certbot as well."""
    renewal_conf.remember(str(site.config), site.name, "apache")
    site.renewal.write_text(site.renewal.read_text().replace("reuse_key = True", ""))
    code, said = call(site, capsys)
    assert code == WARNING and "a new key" in said[0]
    (site.config / "cli.ini").write_text("reuse-key = true\n")
    assert call(site, capsys, f"--config={site.config / 'cli.ini'}")[0] == OK


def test_what_cli_ini_says_is_mended_there(site: Site, capsys: Said) -> None:
    """No run of certbot takes it back: the line that is told is one that is there."""
    ini = site.config / "cli.ini"
    # Older certbots take a switch that is off for one that is not set: then it does no harm.
    for line in ["reuse-key = false"] if hasattr(NamespaceConfig, "set_by_user") else []:
        ini.write_text(f"{line}\n")
        code, said = call(site, capsys, f"--config={ini}")
        assert code == WARNING and f"Take '{line}' out of cli.ini" in said[1]
    ini.write_text("installer = pinkeep\nreuse-key = true\n")
    assert call(site, capsys, f"--config={ini}")[0] == OK


def test_g10_a_bad_value_in_cli_ini_is_told_once(site: Site, capsys: Said) -> None:
    """Renewals go on, so nothing else shows it before it is missed."""
    ini = site.config / "cli.ini"
    for line in (
        "pinkeep-max-age = soon",
        "pinkeep-reload-command = /nonexistent/reload",
        f"pinkeep-snippet-dir = {site.config}/live",
    ):
        ini.write_text(f"{line}\n")
        option, _, value = line.partition(" = ")
        code, said = call(site, capsys, f"--config={ini}")
        assert (code, len(said)) == (WARNING, 2)
        assert (
            said[0].startswith("PINKEEP WARNING - cli.ini: ") and f"--{option} '{value}'" in said[0]
        )
        assert f"Mend {option} there, and run: certbot renew" in said[1]
    ini.write_text("pinkeep-max-age = 5184000\n")
    assert call(site, capsys, f"--config={ini}")[0] == OK


def test_g10_a_bad_value_that_certbot_stored_is_told(site: Site, capsys: Said) -> None:
    """Of its certificate, whatever installer that has."""
    text = site.renewal.read_text()
    for option, value in (("max-age", "soon"), ("report-uri", f"https://{site.name}/")):
        site.renewal.write_text(f"{text}pinkeep_{option.replace('-', '_')} = {value}\n")
        code, said = call(site, capsys)
        assert (code, len(said)) == (WARNING, 2)
        assert f"--pinkeep-{option} VALUE" in said[1]


def test_a_keyring_without_certificates_is_told_the_command_that_works(
    site: Site, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """certbot renew would change nothing; in check and in status."""
    wishes.unpin(site.keeper, site.name, NOW)
    site.keeper.publish(site.name, NOW)
    wishes.confirm(site.keeper, site.name, NOW)
    shutil.rmtree(site.config / "live" / site.name)
    site.renewal.unlink()
    monkeypatch.setattr(probe, "look", lambda wanted, way: ([], []))
    snippet = f"{apache.first_line(site.name)}\nHeader always set X y\n"
    Path(site.state().snippet).write_text(snippet)
    said = call(site, capsys)[1][1]
    assert f"Run: certbot-pinkeep unpin {site.name} -- it writes" in said
    main.main(["status", f"--config-dir={site.config}", f"--work-dir={site.work}"])
    told = capsys.readouterr().out
    assert f"The first 'certbot-pinkeep unpin {site.name}' after that" in told
    assert "certbot renew" not in told


def test_g6_a_snippet_that_did_not_pass_is_not_told_as_edited(site: Site, capsys: Said) -> None:
    """The earlier one is back, visitors are well, and Apache's configuration is what has to be mended."""
    site.apache.config.write_text("broken")
    with pytest.raises(ApacheFailed):
        site.keep(site.options(max_age=100))
    code, said = call(site, capsys)
    assert (code, len(said)) == (WARNING, 2) and "the configuration test of" in said[0]
    assert "are not in place" in said[1] and "certbot renew" in said[1]
    site.apache.config.write_text("")
    site.keep(site.options(max_age=100))
    assert call(site, capsys)[0] == OK


def test_a_late_renewal_that_is_set_is_read(site: Site) -> None:
    """certbot's own setting, for one certificate."""
    site.renewal.write_text("renew_before_expiry = 5 days\n" + site.renewal.read_text())
    (found,) = (
        LocalFiles(str(site.config), site.keeper.store).look(site.state(), NOW, [], []).lineages
    )
    assert found.renew_before == 5 * DAY


def test_backups_whose_keys_are_elsewhere_are_sound(site: Site) -> None:
    """An offline one has no file; an encrypted one has one, which must be that and closed."""
    state = site.state()
    first, second, third = state.keyring.keys
    path = site.config / "keys" / "0009_key-certbot.pem"
    path.write_bytes(
        serialization.load_pem_private_key(make_pem(), None).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    path.chmod(0o644)
    sealed = replace(third, path=None, encrypted="keys/0009_key-certbot.pem")
    keyring = replace(state.keyring, keys=(first, replace(second, path=None), sealed))
    survey = LocalFiles(str(site.config), site.keeper.store)

    def look() -> Seen:
        return survey.look(replace(state, keyring=keyring), NOW, [], [])

    assert [file.error for file in look().keys] == ["", ""]
    assert [
        place.path for place in look().places if place.mode == 0o644 and place.kind == "key"
    ] == [str(path)]
    path.write_bytes(make_pem())
    assert "holds no encrypted private key" in look().keys[1].error
    path.unlink()
    assert "cannot be read" in look().keys[1].error


def test_what_cannot_be_read_is_told(site: Site) -> None:
    """A lineage's certificate, its private key, its renewal file."""
    live = site.config / "live" / site.name
    survey = LocalFiles(str(site.config), site.keeper.store)

    def look() -> Lineage:
        (found,) = survey.look(site.state(), NOW, [], []).lineages
        return found

    (live / "privkey.pem").resolve().write_text("nonsense")
    assert "cannot be used" in look().key_error and "nonsense" not in look().key_error
    (live / "privkey.pem").unlink()
    assert "privkey.pem cannot be read" in look().key_error
    (live / "cert.pem").resolve().write_text("nonsense")
    assert "cert.pem cannot be read" in look().error
    (live / "cert.pem").unlink()
    assert "cert.pem cannot be read" in look().error
    site.renewal.write_text("nonsense")
    assert str(site.renewal) in look().error
    site.renewal.unlink()
    assert "renewal file" in look().error
