"""Find what is wrong with the header that a host sends: the header against the record. Pure.

The rules:

* A host sends exactly one header of the wanted name: a client takes the first only (RFC 7469 §2.3.1).
  The header says what is on record: clients note every other one (§2.3), and the ledger does not know it.
* Until the server has loaded what waits for it, the header of before may still be sent.
* A client notes a header only with the served key and a backup among its pins (§2.5, §4.3).
* max-age=0, and then no header, is what leaving pinning looks like (§2.3.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from certbot_pinkeep.carriers.servers import kind_of
from certbot_pinkeep.check import server_rules
from certbot_pinkeep.check.findings import Finding, Severity, critical, warning
from certbot_pinkeep.core import text
from certbot_pinkeep.core.errors import BadHeader
from certbot_pinkeep.core.header import Header, read_header
from certbot_pinkeep.core.observations import Seen, TlsObservation
from certbot_pinkeep.core.policy import ENFORCED, Policy

#: Pins of a stranger's header that are told.
_MOST_PINS = 5
#: What to do about a header that is not sent, by the server.
_MISSING = {
    "apache": "See that Apache includes {} and has loaded mod_headers ('certbot-pinkeep setup' enables it). "
    "See that nothing replaces the Host of its requests. Then reload Apache.",
    "nginx": "See that nginx's http block has 'include {};', and that the site has the line that the file "
    "names. Then reload nginx.",
}


def check(seen: Seen, shown: TlsObservation, pin: str, now: datetime) -> Iterator[Finding]:
    """Find what is wrong with the header that a host sends with a key."""
    current = seen.state.ledger.current
    if current is None:
        return  # nothing was published yet, and local_rules tells that once
    policy = current.policy
    sent = [value for name, value in shown.headers if name.lower() == policy.header_name.lower()]
    if seen.state.unpinned(now):
        if any(not says(value, policy) for value in sent):
            yield critical(
                shown.where,
                f"it sends pins, but the keyring {seen.name} is unpinned: {sent[0]}",
                reload_or(seen, f"take the line that sets it out of {seen.server}'s configuration"),
            )
        return
    if not sent:
        yield from _missing(seen, shown, policy)
        return
    if len(sent) > 1:
        same = len(set(sent)) == 1
        yield Finding(
            Severity.WARNING if same else Severity.CRITICAL,
            shown.where,
            f"it sends {policy.header_name} {len(sent)} times. Clients take the first one only (RFC 7469 "
            "§2.3.1).",
            f"Include the snippet once, and take out every other line of {seen.server}'s configuration that "
            "sets it.",
        )
    if policy.report_only and any(name.lower() == ENFORCED.lower() for name, _ in shown.headers):
        yield critical(
            shown.where,
            f"it sends {ENFORCED}, which clients enforce, but the keyring {seen.name} only reports.",
            reload_or(seen, f"take the line that sets it out of {seen.server}'s configuration"),
        )
    if not _may_be_sent(seen, sent[0]):
        yield _differing(seen, shown, sent[0], policy, pin)


def _missing(seen: Seen, shown: TlsObservation, policy: Policy) -> Iterator[Finding]:
    ledger = seen.state.ledger
    if ledger.pending and ledger.confirmed_policy() is None:
        return  # the server has never loaded any, and local_rules tells that once
    others = [name for name, value in shown.headers if _may_be_sent(seen, value, name)]
    if ledger.pending and others:
        return  # it goes from report-only to enforced, or back, when the server is reloaded
    instead = f", but {text.short(shown.headers[0][0])}" if shown.headers else ""
    cause = server_rules.cause_of(seen, shown.host)
    todo = _MISSING[kind_of(seen.state.snippet, seen.snippet).name].format(seen.state.snippet)
    yield critical(
        shown.where,
        text.joined(
            f"it sends no {policy.header_name}{instead}: clients note no pins.",
            cause.what if cause else "",
        ),
        cause.todo if cause else todo,
    )


def _differing(seen: Seen, shown: TlsObservation, value: str, policy: Policy, pin: str) -> Finding:
    """Tell what is wrong with a header that is not on record."""
    if any(says(value, one.policy) for one in seen.state.ledger.imported):
        return _of_before(seen, shown, value, policy)
    reload = reload_or(
        seen,
        f"see that {seen.server} includes {seen.state.snippet}, and that no other line sets "
        f"{policy.header_name}. A line in a <VirtualHost> comes after the snippet",
    )
    if any(says(value, entry.policy) for entry in seen.state.ledger.entries):
        return critical(
            shown.where,
            f"it still sends an earlier {policy.header_name}, which the record has as replaced.",
            reload,
        )
    try:
        header = read_header(value)
    except BadHeader as error:
        return critical(
            shown.where,
            f"it sends a {policy.header_name} that clients ignore (RFC 7469 §2.1): {text.short(error)}.",
            reload,
        )
    why = _ignored(header, pin)
    noted = f" Clients do not note it (RFC 7469 §2.5): {why}." if why else ""
    return critical(
        shown.where,
        f"its {policy.header_name} is not what is on record: "
        f"{', '.join(_differences(header, policy))}.{noted}",
        reload,
    )


def _of_before(seen: Seen, shown: TlsObservation, value: str, policy: Policy) -> Finding:
    """Tell of a header from before the host was the keyring's."""
    if any(says(value, one.policy) for one in seen.state.ledger.imported if one.replaced is None):
        return warning(
            shown.where,
            "it still sends the pins of the keyring that its certificate has left.",
            f"See that {seen.server} includes {seen.state.snippet}, reload {seen.server}, and run: "
            f"certbot-pinkeep confirm {seen.name}",
        )
    return critical(
        shown.where,
        f"it still sends the {policy.header_name} of before pinkeep pinned it. Clients note that header, "
        "and hold it for longer than is on record.",
        "Take the line that sends it out of the web server's configuration. See that the server includes "
        f"{seen.state.snippet}, reload the server, and run: certbot renew",
    )


def _ignored(header: Header, pin: str) -> str:
    """Say why a client does not note the header, as a part of a sentence; empty: it does."""
    if pin not in header.pins:
        return "the served key is not among its pins"
    if set(header.pins) <= {pin}:
        return "it has no backup pin"
    return ""


def _differences(header: Header, policy: Policy) -> list[str]:
    lacking = [pin for pin in policy.pins if pin not in header.pins]
    added = [pin for pin in dict.fromkeys(header.pins) if pin not in policy.pins]
    found = [f"it lacks the pin {pin}" for pin in lacking]
    found += [f"it has the pin {pin}" for pin in added[:_MOST_PINS]]
    if len(added) > _MOST_PINS:
        found.append(f"it has {len(added) - _MOST_PINS} more pins")
    if header.max_age != policy.max_age:
        found.append(f"max-age is {header.max_age}, not {policy.max_age}")
    if header.include_subdomains != policy.include_subdomains:
        found.append(f"includeSubDomains is {'' if header.include_subdomains else 'not '}there")
    if header.report_uri != policy.report_uri:
        uri = "not there" if header.report_uri is None else text.short(header.report_uri)
        found.append(f"report-uri is {uri}, not {policy.report_uri}")
    return found


def _may_be_sent(seen: Seen, value: str, name: str | None = None) -> bool:
    """Say whether the record has a header as one that may be served now."""
    ledger = seen.state.ledger
    wanted = ledger.current.policy.header_name if ledger.current and name is None else name
    return any(
        says(value, entry.policy)
        for entry in ledger.entries
        if entry.replaced is None and entry.policy.header_name.lower() == (wanted or "").lower()
    )


def says(value: str, policy: Policy) -> bool:
    """Say whether a header's value says what the policy says."""
    try:
        header = read_header(value)
    except BadHeader:
        return False
    return not _differences(header, policy)


def reload_or(seen: Seen, otherwise: str) -> str:
    """Tell to reload the server, and what to do if that does not help."""
    then = f" If that does not help, {otherwise}." if otherwise else ""
    return f"Reload {seen.server}.{then}"
