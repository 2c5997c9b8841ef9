"""What is on this machine: each fault is found, as bad as it is, with what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from certbot_pinkeep.carriers import apache
from certbot_pinkeep.check import check
from certbot_pinkeep.check.findings import Severity, exit_code
from certbot_pinkeep.core import times
from certbot_pinkeep.core.errors import BadOption
from certbot_pinkeep.core.key_and_csr import csr_request
from certbot_pinkeep.core.keyring import Member
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.membership import with_neighbour
from certbot_pinkeep.core.observations import FileInfo, Lineage, PlaceKind, Seen
from certbot_pinkeep.core.options import Options
from certbot_pinkeep.core.state import State
from simulated.seen import (
    BELOW,
    COMPROMISED,
    COVERING,
    HOST,
    KEYRING,
    LEAVING,
    LEDGER,
    LIVE,
    LIVE_CERTIFICATE,
    NEVER_LOADED,
    OTHER,
    PENDING,
    PKP,
    POLICY,
    RING,
    SHOWN,
    STRANGE_CERTIFICATE,
    UNPIN,
    digest_of,
    ended,
    lineage,
    shows,
    sound,
    with_key,
)
from simulated.values import DAY, FAULT, HOUR, NOW, B, C, faulty, policy, ring_key

OK, WARNING, CRITICAL, UNKNOWN = Severity
NEIGHBOURED = with_neighbour(KEYRING, "wild", (HOST,), ring_key(C, "in-service"))

# What is seen, how bad it is, what is said of it, what to do.
FAULTS: dict[str, tuple[Seen, Severity, str, str]] = {
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
        sound(incoming=("api",)),
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
    "compromised, of a certificate that is not enrolled": (
        sound(keyring=NEIGHBOURED.with_compromised(C)),
        CRITICAL,
        f"the key with the pin {C}, which is compromised",
        "Renew for another key.\nRun: certbot renew --cert-name wild --force-renewal",
    ),
    "a rollover that waits for the admin": (
        sound(
            keyring=with_key(path=None).mark_for_retirement(),
            requests=frozenset({csr_request(LIVE, [HOST], must_staple=False)}),
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
        sound(keyring=faulty(KEYRING, B)),
        CRITICAL,
        f"{FAULT} pinkeep cannot use this backup.",
        "Restore /etc/letsencrypt/keys/1.pem from a backup.",
    ),
    "encrypted backup lost": (
        sound(keyring=with_key(path=None, encrypted="keys/1.pem", fault=FAULT)),
        CRITICAL,
        f"{FAULT} It is the encrypted key of a backup",
        f"certbot-pinkeep backup {RING} add --keep-encrypted --key FILE",
    ),
    "primary lost": (
        sound(keyring=faulty(KEYRING, LIVE)),
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
            keyring=faulty(KEYRING, LIVE),
            step=UNPIN,
            shown=(),
            lineages=(Lineage(HOST, deleted=True),),
        ),
        CRITICAL,
        f"{FAULT} The next certificate needs that key",
        "Restore /etc/letsencrypt/keys/0.pem from a backup.",
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
        sound(**lineage(reuse_key=False, reuse_denied=True)),
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


#: Others who could read or change a file: its path, kind, mode and owner; how bad that is, and what to do.
OPEN = [
    ("/k/0", "key", 0o600, 1000, CRITICAL, "the user 1000, but the user 0 runs", "chown 0 /k/0"),
    ("/k/0", "key", 0o640, 0, CRITICAL, "its mode is 0640", "chmod 0600 /k/0"),
    ("/s.conf", "snippet", 0o644, 33, CRITICAL, "belongs to the user 33", "chown 0 /s.conf"),
    ("/p", "records", 0o777, 0, CRITICAL, "other users can use it: its mode", "chmod go-w /p"),
    ("/p/apache", "snippets", 0o755, 33, CRITICAL, "to the user 33", "chown 0 /p/apache"),
    ("/r.conf", "keyring", 0o644, 0, WARNING, "its mode is 0644", "chmod 0600 /r.conf"),
    ("/r.conf", "keyring", 0o620, 0, CRITICAL, "its mode is 0620", "chmod 0600 /r.conf"),
    ("/csr", "csrs", 0o777, 0, WARNING, "its mode is 0777", "chmod 0755 /csr"),
]


@pytest.mark.parametrize(("path", "kind", "mode", "owner", "severity", "what", "run"), OPEN)
def test_file_that_others_can_use_is_told(
    path: str, kind: PlaceKind, mode: int, owner: int, severity: Severity, what: str, run: str
) -> None:
    """With the command that takes it from them; a folder of the admin's own stays theirs."""
    (told,) = check(sound(places=(FileInfo(path, kind, mode, owner),)), NOW)
    assert (told.severity, told.todo) == (severity, f"Run: {run}") and what in told.what


def test_folder_of_the_admin_is_closed_to_others_only() -> None:
    """Its owner and group are the admin's choice."""
    (told,) = check(sound(places=(FileInfo("/x", "foreign snippets", 0o777, 0),), owner=1000), NOW)
    assert (told.severity, told.todo) == (CRITICAL, "Run: chmod o-w /x")


def test_certificate_that_left_pinning_may_get_a_new_key() -> None:
    """Leaving says to renew it so; a warning would send the admin back."""
    found = check(sound(Ledger(), unpin=True, **lineage(reuse_key=False)), NOW)
    assert not [one for one in found if "reuse_key" in one.what]


@pytest.mark.parametrize(("seen", "severity", "what", "todo"), FAULTS.values(), ids=list(FAULTS))
def test_each_fault_is_found(seen: Seen, severity: Severity, what: str, todo: str) -> None:
    """One finding says it, as bad as it is, and what to do; none is worse."""
    found = check(seen, NOW)
    told = [one for one in found if what in one.what]
    assert [one.severity for one in told] == [severity], found
    assert todo in told[0].todo
    assert exit_code(found) == severity
