"""What visitors see, held against the pins and the ledger. Pure.

The rules:

* Who holds pins without the served key refuses the site (RFC 7469 §2.6): nobody may.
* The served certificate is the live one; another one is an Apache that was not reloaded.
* Exactly one header of the wanted name is sent: a client takes the first only (§2.3.1). It says what
  is on record: another one is noted by clients (§2.3) while the ledger knows nothing of it.
* What waits for Apache to load it may not be sent yet, and what it replaces may still be.
* A client notes a header only with the served key and a backup among its pins (§2.5, §4.3), and
  only over TLS without errors (§2.5).
* No pin header over plain HTTP (§2.2.2).
* max-age=0, and then no header, is what leaving pinning looks like (§2.3.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from cryptography import x509

from certbot_pinkeep import moments, pins, rollover
from certbot_pinkeep.checks.certificates import read
from certbot_pinkeep.checks.findings import Finding, Severity
from certbot_pinkeep.checks.seen import Certificate, Seen, Shown
from certbot_pinkeep.errors import BadHeader
from certbot_pinkeep.pins import Header
from certbot_pinkeep.policy import ENFORCED, Policy

_NOT_THERE = {
    "unreachable": (
        Severity.UNKNOWN,
        "it could not be reached",
        "See that it can be reached from here, or say where: --connect HOST:PORT",
    ),
    "tls": (
        Severity.CRITICAL,
        "no TLS connection came about",
        "See Apache's error log and 'apache2ctl configtest'.",
    ),
    "http": (
        Severity.UNKNOWN,
        "no answer came over TLS, so its header could not be looked at",
        "See Apache's error log; where it is slow, give it longer: --timeout SECONDS",
    ),
}


def check(seen: Seen, now: datetime) -> Iterator[Finding]:
    """What is wrong with what the hosts of a keyring show."""
    for shown in seen.shown:
        if shown.stopped:
            severity, what, todo = _NOT_THERE[shown.stopped]
            yield Finding(severity, shown.host, f"{what}: {shown.error}.", todo)
        if shown.certificate is None:
            continue
        served = read(shown.host, x509.load_der_x509_certificate(shown.certificate))
        yield from _certificate(seen, shown, served, now)
        yield from _key(seen, shown, served.pin, now)
        if shown.stopped != "http":
            yield from _header(seen, shown, served.pin, now)
    for plain in seen.plain:
        for name in dict.fromkeys(name for name, _ in plain.headers):
            yield Finding(
                Severity.WARNING,
                plain.host,
                f"it sends {name} over plain HTTP, where none must be sent (RFC 7469 §2.2.2).",
                "The snippet sends it over TLS only: take out the other line of Apache's "
                "configuration that sets it.",
            )


def _certificate(seen: Seen, shown: Shown, served: Certificate, now: datetime) -> Iterator[Finding]:
    host = shown.host
    mine = [live for live in seen.lives if live.is_for(host)]
    if not served.is_for(host):
        yield Finding(
            Severity.CRITICAL,
            host,
            f"its certificate is for {', '.join(served.names) or 'no name'}, so visitors are "
            "refused and note no pins (RFC 7469 §2.5).",
            f"See that a <VirtualHost> with TLS has the name {host} and the certificate of "
            f"{_names(mine) or seen.name}.",
        )
    elif shown.untrusted:
        yield Finding(
            Severity.WARNING,
            host,
            f"its certificate is not trusted here ({shown.untrusted}); clients for whom that is so "
            "note no pins (RFC 7469 §2.5).",
            "See that Apache sends fullchain.pem; for a CA of your own give --ca-file FILE.",
        )
    if shown.fingerprint in {live.fingerprint for live in seen.lives}:
        return  # whether it is in time is told where the files are looked at
    if served.end <= now:
        yield Finding(
            Severity.CRITICAL,
            host,
            f"its certificate expired at {moments.text(served.end)} and is not the live one.",
            _reload(mine),
        )
    elif mine and {served.pin, *(live.pin for live in mine)} <= set(_policy_pins(seen)):
        yield Finding(
            Severity.WARNING,
            host,
            f"it does not serve the live certificate of {_names(mine)}, though one with a pinned "
            "key.",
            _reload(mine),
        )


def _key(seen: Seen, shown: Shown, pin: str, now: datetime) -> Iterator[Finding]:
    state = seen.state
    known = pin in _policy_pins(seen)
    locked = rollover.locked_out(pin, state.ledger, now, (shown.host,))
    if (known and not locked) or (not locked and state.unpinned(now)):
        return
    mine = [live for live in seen.lives if live.is_for(shown.host)]
    if known:
        until = max(entry.binds_until(now) for entry in locked)
        yield Finding(
            Severity.WARNING,
            shown.host,
            f"its key, with the pin {pin}, is pinned, but clients that hold earlier pins refuse it "
            f"until {moments.text(until)} at the latest.",
            "Nothing can take those pins back before that.",
        )
        return
    held = (
        "clients that hold the pins, until "
        f"{moments.text(max(entry.binds_until(now) for entry in locked))} or longer, refuse it."
        if locked
        else "clients do not note such pins."
    )
    if any(live.pin in _policy_pins(seen) for live in mine):
        mend = _reload([live for live in mine if live.pin in _policy_pins(seen)])
    else:
        name = mine[0].lineage if mine else seen.name
        mend = f"Run: certbot renew --cert-name {name} --force-renewal --installer pinkeep"
    yield Finding(
        Severity.CRITICAL if locked else Severity.WARNING,
        shown.host,
        f"it serves the key with the pin {pin}, which is not among the pins of the keyring "
        f"{seen.name}: {held}",
        mend,
    )


def _header(seen: Seen, shown: Shown, pin: str, now: datetime) -> Iterator[Finding]:
    current = seen.state.ledger.current
    if current is None:
        return  # nothing was published yet, which is told once
    policy = current.policy
    sent = [value for name, value in shown.headers if name.lower() == policy.header_name.lower()]
    if seen.state.unpinned(now):
        if any(not _says(value, policy) for value in sent):
            yield Finding(
                Severity.CRITICAL,
                shown.host,
                f"it sends pins though the keyring {seen.name} is unpinned: {sent[0]}",
                "Reload Apache; where that does not help, take the line that sets it out of "
                "Apache's configuration.",
            )
        return
    if not sent:
        yield from _missing(seen, shown, policy)
        return
    if len(sent) > 1:
        same = len(set(sent)) == 1
        yield Finding(
            Severity.WARNING if same else Severity.CRITICAL,
            shown.host,
            f"it sends {policy.header_name} {len(sent)} times; clients take the first one only "
            "(RFC 7469 §2.3.1).",
            "Include the snippet once, and take out every other line of Apache's configuration "
            "that sets it.",
        )
    if policy.report_only and any(name.lower() == ENFORCED.lower() for name, _ in shown.headers):
        yield Finding(
            Severity.CRITICAL,
            shown.host,
            f"it sends {ENFORCED}, which clients enforce, though the keyring {seen.name} only "
            "reports.",
            "Reload Apache; where that does not help, take the line that sets it out of Apache's "
            "configuration.",
        )
    if not _may_be_sent(seen, sent[0]):
        yield _differing(seen, shown, sent[0], policy, pin)


def _missing(seen: Seen, shown: Shown, policy: Policy) -> Iterator[Finding]:
    ledger = seen.state.ledger
    if ledger.pending and ledger.confirmed_policy() is None:
        return  # Apache has never loaded any, which is told once
    others = [name for name, value in shown.headers if _may_be_sent(seen, value, name)]
    if ledger.pending and others:
        return  # it goes from report-only to enforced, or back, once Apache is reloaded
    instead = f", but {shown.headers[0][0]}" if shown.headers else ""
    yield Finding(
        Severity.CRITICAL,
        shown.host,
        f"it sends no {policy.header_name}{instead}: clients note no pins.",
        f"See that its <VirtualHost> has 'IncludeOptional {seen.state.snippet}' and mod_headers is "
        "on (a2enmod headers), and reload Apache.",
    )


def _differing(seen: Seen, shown: Shown, value: str, policy: Policy, pin: str) -> Finding:
    """What is wrong with a header that is not the one on record."""
    reload = (
        f"Reload Apache; where that does not help, see that its <VirtualHost> includes "
        f"{seen.state.snippet}, and that no other line sets {policy.header_name}."
    )
    if any(_says(value, one.policy) for one in seen.state.ledger.inherited if one.replaced is None):
        return Finding(
            Severity.WARNING,
            shown.host,
            "it still sends the pins of the keyring that its certificate has left.",
            f"Have its <VirtualHost> include {seen.state.snippet}, reload Apache, and run: "
            f"certbot-pinkeep confirm {seen.name}",
        )
    if any(_says(value, entry.policy) for entry in seen.state.ledger.entries):
        return Finding(
            Severity.CRITICAL,
            shown.host,
            f"it still sends an earlier {policy.header_name}, which is on record as replaced.",
            reload,
        )
    try:
        header = pins.read_header(value)
    except BadHeader as error:
        return Finding(
            Severity.CRITICAL,
            shown.host,
            f"it sends a {policy.header_name} that clients ignore (RFC 7469 §2.1): {error}.",
            reload,
        )
    why = _ignored(header, pin)
    noted = f" Clients do not note it (RFC 7469 §2.5): {why}." if why else ""
    return Finding(
        Severity.CRITICAL,
        shown.host,
        f"its {policy.header_name} is not the one on record: "
        f"{', '.join(_differences(header, policy))}.{noted}",
        reload,
    )


def _ignored(header: Header, pin: str) -> str:
    """Why a client does not note the header, as a part of a sentence; empty: it does."""
    if pin not in header.pins:
        return "the served key is not among its pins"
    if set(header.pins) <= {pin}:
        return "it has no backup pin"
    return ""


def _differences(header: Header, policy: Policy) -> list[str]:
    lacking = [pin for pin in policy.pins if pin not in header.pins]
    added = [pin for pin in dict.fromkeys(header.pins) if pin not in policy.pins]
    found = [f"it lacks the pin {pin}" for pin in lacking]
    found += [f"it has the pin {pin}" for pin in added]
    if header.max_age != policy.max_age:
        found.append(f"max-age is {header.max_age}, not {policy.max_age}")
    if header.include_subdomains != policy.include_subdomains:
        found.append(f"includeSubDomains is {'' if header.include_subdomains else 'not '}there")
    if header.report_uri != policy.report_uri:
        found.append(f"report-uri is {header.report_uri}, not {policy.report_uri}")
    return found


def _may_be_sent(seen: Seen, value: str, name: str | None = None) -> bool:
    """Whether a header is on record as one that may be served now."""
    ledger = seen.state.ledger
    wanted = ledger.current.policy.header_name if ledger.current and name is None else name
    return any(
        _says(value, entry.policy)
        for entry in ledger.entries
        if entry.replaced is None and entry.policy.header_name.lower() == (wanted or "").lower()
    )


def _says(value: str, policy: Policy) -> bool:
    """Whether a header's value says what the policy says."""
    try:
        header = pins.read_header(value)
    except BadHeader:
        return False
    return not _differences(header, policy)


def _policy_pins(seen: Seen) -> tuple[str, ...]:
    current = seen.state.ledger.current
    return current.policy.pins if current else ()


def _names(lives: list[Certificate]) -> str:
    return ", ".join(live.lineage for live in lives)


def _reload(mine: list[Certificate]) -> str:
    paths = ", ".join(f"live/{live.lineage}/fullchain.pem" for live in mine)
    see = f"; where that does not help, see that SSLCertificateFile is {paths}" if paths else ""
    return f"Reload Apache{see}."
