"""Find what is wrong with what visitors see: the hosts against the pins and the ledger. Pure.

The rules:

* A client that holds pins without the served key refuses the site (RFC 7469 §2.6). That is critical while
  it can be mended. If the admin forced it, and nothing takes it back, it is a warning.
* This holds for every certificate that a host has, whatever its type of key.
* The served certificate is the live one. If it is another one, the server was not reloaded.
* A host sends the header that is on record (see ``header_rules``).
* The server may not send yet what waits for it, and may still send what that replaces. Until one visitor is
  sent the new header, the key and the header of before are no fault.
* A client notes a header only if its pins have the served key and a backup (§2.5, §4.3). No client notes a
  header over TLS with errors (§2.5). All clients refuse a chain with an expired certificate.
* A name that stands for a wildcard may belong to another site. That is told only if no other name of the
  keyring can be looked at.
* No pin header goes over plain HTTP (§2.2.2).
* If no server sends the keyring's header (``--pinkeep-header none``), nothing has to answer over TLS. A
  certificate of the keyring's hosts that is served all the same is the live one, with a pinned key.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime

from certbot_pinkeep.check import header_rules
from certbot_pinkeep.check.findings import Finding, Severity, critical, warning
from certbot_pinkeep.core import rollover, text, times
from certbot_pinkeep.core.certificate import read
from certbot_pinkeep.core.errors import BadKey
from certbot_pinkeep.core.holdings import Entry, Holding, Release, ZoneEntry
from certbot_pinkeep.core.observations import Certificate, Seen, TlsObservation

_NOT_THERE = {
    "unreachable": (
        Severity.UNKNOWN,
        "it could not be reached",
        "See that this machine can reach it, or give its address: --connect HOST:PORT",
    ),
    "slow": (
        Severity.UNKNOWN,
        "no TLS connection came about in time",
        "See whether it is overloaded. If it is only slow, give it longer: --timeout SECONDS",
    ),
    "tls": (
        Severity.CRITICAL,
        "no TLS connection came about",
        "See the server's error log, and test its configuration. check cannot look at a site that asks "
        "visitors for a certificate (SSLVerifyClient).",
    ),
    "http": (
        Severity.UNKNOWN,
        "no answer came over TLS, so its header could not be looked at",
        "See the server's error log. If it is slow, give it longer: --timeout SECONDS -- check cannot see "
        "the header of a site that asks visitors for a certificate (SSLVerifyClient).",
    ),
}


def check(seen: Seen, now: datetime) -> Iterator[Finding]:
    """Find what is wrong with what the hosts of a keyring show."""
    for shown in seen.shown:
        yield from _host(seen, shown, now)
    for plain in seen.plain:
        for name in dict.fromkeys(name for name, _ in plain.headers):
            yield warning(
                plain.host,
                f"it sends {name} over plain HTTP, which RFC 7469 §2.2.2 forbids.",
                "The snippet sends it over TLS only. Take out the other line of the server's configuration "
                "that sets it.",
            )


def _host(seen: Seen, shown: TlsObservation, now: datetime) -> Iterator[Finding]:
    if seen.state.is_without_header:
        yield from _without_header(seen, shown, now)
        return
    if shown.stopped == "type":
        yield from _type_missing(seen, shown)
    elif shown.stopped:
        severity, what, todo = _NOT_THERE[shown.stopped]
        yield Finding(severity, shown.where, f"{what}: {shown.error}.", todo)
    if shown.certificate is None:
        return
    try:
        served = read(shown.host, shown.certificate)
    except BadKey as error:
        yield critical(
            shown.where,
            f"check cannot read its certificate, and visitors may refuse it: {error}.",
            _reload(seen, _mine(seen, shown)),
        )
        return
    if shown.guessed and not served.is_for(shown.host):
        yield from _another_site(seen, shown, served)
        return
    yield from _certificate(seen, shown, served, now)
    yield from _key(seen, shown, served, now)
    if shown.stopped != "http":
        yield from header_rules.check(seen, shown, served.pin, now)


def _without_header(seen: Seen, shown: TlsObservation, now: datetime) -> Iterator[Finding]:
    with suppress(BadKey):
        served = read(shown.host, shown.certificate) if shown.certificate else None
        if served is not None and served.is_for(shown.host):
            yield from _stale(seen, shown, served, now)
            yield from _key(seen, shown, served, now)


def _type_missing(seen: Seen, shown: TlsObservation) -> Iterator[Finding]:
    mine = [live for live in _mine(seen, shown) if live.key_type == shown.key_type]
    if not mine:
        return
    kind = (shown.key_type or "").upper()
    files = ", ".join(f"live/{live.lineage}/fullchain.pem" for live in mine)
    yield warning(
        shown.where,
        f"it serves no {kind} certificate, but this machine has one ({_names(mine)}): {shown.error}.",
        f"Add the certificate {files} and its key to the site. See that the site has ciphers for {kind}.",
    )


def _another_site(seen: Seen, shown: TlsObservation, served: Certificate) -> Iterator[Finding]:
    if any(not other.guessed for other in seen.shown):
        return
    yield warning(
        shown.where,
        f"another site answers here, for {_of(served)}. check looks at this name for a wildcard, so it "
        f"could not look at the keyring {seen.name}.",
        f"Have the site of the wildcard answer {shown.host}, or give its address: --connect HOST:PORT",
    )


def _certificate(
    seen: Seen, shown: TlsObservation, served: Certificate, now: datetime
) -> Iterator[Finding]:
    host = shown.host
    mine = _like(served, _mine(seen, shown))
    if not served.is_for(host) or shown.distrust == "name":
        yield critical(
            shown.where,
            f"its certificate is for {_of(served)}, so visitors refuse it and note no pins (RFC 7469 §2.5).",
            f"See that a site with TLS has the name {host} and the certificate of "
            f"{_names(mine) or seen.name}.",
        )
    elif shown.distrust == "time":
        if served.begin <= now < served.end:
            yield critical(
                shown.where,
                f"a certificate of its chain is out of time ({shown.untrusted}). Visitors refuse it, and "
                "note no pins (RFC 7469 §2.5).",
                "See that the server sends fullchain.pem as it is now, and that the clock is right. If the "
                "chain in fullchain.pem has expired, run: certbot renew --cert-name "
                f"{_names(mine[:1]) or seen.name} --force-renewal",
            )
    elif shown.untrusted:
        yield warning(
            shown.where,
            f"this machine does not trust its certificate ({shown.untrusted}). Clients that do not trust it "
            "note no pins (RFC 7469 §2.5).",
            "See that the server sends fullchain.pem. If the CA is your own, give: --ca-file FILE",
        )
    yield from _stale(seen, shown, served, now)


def _stale(
    seen: Seen, shown: TlsObservation, served: Certificate, now: datetime
) -> Iterator[Finding]:
    mine = _like(served, _mine(seen, shown))
    if shown.fingerprint in {live.fingerprint for live in seen.lives}:
        return  # local_rules tells whether it is in time
    if served.end <= now:
        yield critical(
            shown.where,
            f"its certificate expired at {times.text(served.end)}, and is not the live one.",
            _reload(seen, mine),
        )
    elif shown.fingerprint in {other.fingerprint for other in seen.others}:
        return  # the live certificate of a lineage that is not enrolled
    elif mine and {served.pin, *(live.pin for live in mine)} <= set(_policy_pins(seen)):
        yield warning(
            shown.where,
            f"it does not serve the live certificate of {_names(mine)}, but another one with a pinned key.",
            _reload(seen, mine),
        )


def _key(
    seen: Seen, shown: TlsObservation, served: Certificate, now: datetime
) -> Iterator[Finding]:
    known = served.pin in _policy_pins(seen)
    locked = _locked_out(seen, shown, served.pin, now)
    if not locked and (known or _waits(seen, served.pin) or seen.state.unpinned(now)):
        return
    if known:
        yield _refused_by_some(seen, shown, served.pin, locked, now)
        return
    held = (
        f"Clients that hold the pins refuse it, until {_until(locked, now)} or longer."
        if locked
        else "Clients do not note such pins."
    )
    yield Finding(
        Severity.CRITICAL if locked else Severity.WARNING,
        shown.where,
        f"it serves the key with the pin {served.pin}, which is not among the pins of the keyring "
        f"{seen.name}. {held}",
        _mend_key(seen, shown, served),
    )


def _locked_out(seen: Seen, shown: TlsObservation, pin: str, now: datetime) -> tuple[Holding, ...]:
    """Find what locks out its holders by the key that is served."""
    ledger = seen.state.ledger
    locked = tuple(
        one
        for one in rollover.locked_out(pin, ledger, now, (shown.host,))
        if not isinstance(one, ZoneEntry)  # a client of the site holds no records: zone_rules tells
    )
    if not _waits(seen, pin):
        return locked
    sent = [value for one in seen.shown if one.host == shown.host for _, value in one.headers]
    # Nobody holds what waits for the server and is not sent.
    return tuple(
        one
        for one in locked
        if not isinstance(one, Entry)
        or one not in ledger.entries
        or one.confirmed is not None
        or any(header_rules.says(value, one.policy) for value in sent)
    )


def _waits(seen: Seen, pin: str) -> bool:
    """Say whether the server may not have loaded what replaces the pins that have this one."""
    ledger = seen.state.ledger
    confirmed = ledger.confirmed_policy()
    return ledger.pending and confirmed is not None and pin in confirmed.pins


def _mend_key(seen: Seen, shown: TlsObservation, served: Certificate) -> str:
    mine = _mine(seen, shown)
    pinned = [live for live in mine if live.pin in _policy_pins(seen)]
    if pinned and served.key_type not in {live.key_type for live in mine}:
        kind = (served.key_type or "other").upper()
        return (
            f"Take the {kind} certificate out of the site, and reload {seen.server}: the keyring has no "
            f"certificate with an {kind} key there."
        )
    if pinned:
        return _reload(seen, _like(served, pinned))
    if not mine:
        return "Run: certbot renew"
    return f"Run: certbot renew --cert-name {shlex.quote(mine[0].lineage)} --force-renewal"


def _refused_by_some(
    seen: Seen, shown: TlsObservation, pin: str, locked: tuple[Holding, ...], now: datetime
) -> Finding:
    """Tell of a key that is pinned, but is not in what some clients still hold."""
    policies = [one for one in locked if isinstance(one, Entry)]
    releases = [one for one in locked if isinstance(one, Release)]
    told = [f"Users of {one} refuse it until {_until([one], now)}." for one in releases]
    if policies:
        until = _until(policies, now)
        told.insert(0, f"Clients that hold earlier pins refuse it until {until} at the latest.")
    what = f"its key, with the pin {pin}, is pinned, but not everywhere. {' '.join(told)}"
    better = _accepted(seen, shown, pin, now)
    if better is not None:
        return critical(shown.where, what, put_back(better))
    ends = "".join(
        f" If nobody uses {one} any more, run: certbot-pinkeep release {seen.name} end "
        f"--channel {shlex.quote(one.channel)} --label {shlex.quote(one.label)}"
        for one in releases
    )
    todo = "Nothing takes earlier pins back before that." if policies else ""
    return warning(shown.where, what, f"{todo}{ends}".strip())


def _accepted(seen: Seen, shown: TlsObservation, pin: str, now: datetime) -> str | None:
    """Find the key that is on record as served at the host; ``None``: the same, or not all accept it."""
    keyring = seen.state.keyring
    pins_ = [member.pin for member in keyring.drawing if shown.host in member.hosts]
    pins_ += [member.pin for member in keyring.neighbours]
    other = next((one for one in pins_ if one != pin), None)
    if pin in pins_ or other is None:
        return None
    locked = rollover.locked_out(other, seen.state.ledger, now, (shown.host,))
    return None if locked else other


def put_back(pin: str) -> str:
    """Tell what to do if a backup was put in service too early."""
    return (
        f"All clients accept the key that is on record, with the pin {pin}. Serve an earlier certificate of "
        "that key again, from archive/ or a backup of archive/, and reload the server. Run no certbot "
        "before: certbot would take the present key for good."
    )


def _policy_pins(seen: Seen) -> tuple[str, ...]:
    current = seen.state.ledger.current
    return current.policy.pins if current else ()


def _until(held: Sequence[Holding], now: datetime) -> str:
    return times.text(max(one.binds_until(now) for one in held))


def _of(served: Certificate) -> str:
    return text.short(", ".join(served.names)) or "no name"


def _mine(seen: Seen, shown: TlsObservation) -> list[Certificate]:
    """Find the keyring's live certificates for a host."""
    return [live for live in seen.lives if live.is_for(shown.host)]


def _like(served: Certificate, lives: list[Certificate]) -> list[Certificate]:
    """Find the certificates with the same type of key; all, if there are none."""
    return [live for live in lives if live.key_type == served.key_type] or lives


def _names(lives: list[Certificate]) -> str:
    return ", ".join(live.lineage for live in lives)


def _reload(seen: Seen, mine: list[Certificate]) -> str:
    paths = ", ".join(f"live/{live.lineage}/fullchain.pem" for live in mine)
    return header_rules.reload_or(
        seen, f"see that the site's certificate is {paths}" if paths else ""
    )
