"""Find what is wrong on this machine: the record, the files, the live certificates. Pure.

The rules:

* No key is rolled over while the record is uncertain, ahead of the clock, or waits for the server (G8).
* A compromised key is rolled over (G3). A rollover that waits until it is safe is nothing to tell. One that
  waits for a private key of the admin's is.
* Every key that is staged or in service has its private key. Each staged key has a saved CSR for each
  certificate that it may be issued for. A backup whose key is offline has none here. A pin without a key is
  no backup (RFC 7469 §4.3).
* Private keys are for their owner only (G7). Nobody else writes the record or the snippet, or their folders.
* The snippet says what is on record: the server's next reload sends what the snippet says. If a snippet did
  not pass the server's test, the one of before is back (G6), and nobody edited it.
* Every live certificate has a pinned key and its own private key, and is renewed in time, by itself.
  Certbot reuses its key, so that a certbot without pinkeep keeps it. ``cli.ini`` counts before the renewal
  file, so the admin mends it there.
* A revoked certificate is renewed. The CA tells of a revocation in its CRL.
* If pinkeep does not take an option, it brings no keys and pins up to date. Renewals go on (G3), so nothing
  else shows it.
* A renewal file has the name of the lineage's folder in ``live/``: commands name the lineage so.
* A lineage that pinkeep renews is in a keyring, or the record was lost.
* A deleted certificate leaves the keyring with the next publication. The last certificate does not.
* includeSubDomains binds at the hosts of other certificates as well (RFC 7469 §2.6, §4.2): their keys are
  pinned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from shlex import quote

from certbot_pinkeep.carriers import apache
from certbot_pinkeep.carriers.servers import kind_of
from certbot_pinkeep.check.findings import Finding, Severity, critical, warning
from certbot_pinkeep.check.site_rules import put_back
from certbot_pinkeep.core import explain, explain_hosts, hostnames, rollover, times
from certbot_pinkeep.core.certificate import is_overdue
from certbot_pinkeep.core.errors import BadOption
from certbot_pinkeep.core.holdings import Entry
from certbot_pinkeep.core.key_and_csr import csr_request
from certbot_pinkeep.core.keyring import Key
from certbot_pinkeep.core.observations import (
    HANDED_OVER,
    Certificate,
    FileInfo,
    Lineage,
    PlaceKind,
    Seen,
)
from certbot_pinkeep.core.text import command, joined

#: By kind: its name, the permission bits that it must not have, its right mode, and how bad it is otherwise.
#: What others can write is worse than what they can read.
_MODES: dict[PlaceKind, tuple[str, int, str, Severity]] = {
    "keys": ("the folder of the private keys", 0o077, "0700", Severity.CRITICAL),
    "key": ("a private key", 0o077, "0600", Severity.CRITICAL),
    # Certbot keeps a group that may read it.
    "live key": ("a private key", 0o007, "o=", Severity.CRITICAL),
    "records": ("the folder of the keyring files", 0o022, "go-w", Severity.CRITICAL),
    "above records": ("above the copies of the keyring files", 0o022, "go-w", Severity.CRITICAL),
    "keyring": ("the keyring file", 0o077, "0600", Severity.WARNING),
    "snippets": ("the folder of the snippet", 0o022, "go-w", Severity.CRITICAL),
    # The admin's own, with a group of its own.
    "foreign snippets": ("the folder of the snippet", 0o002, "o-w", Severity.CRITICAL),
    "snippet": ("the snippet, which the server loads,", 0o022, "0644", Severity.CRITICAL),
    "csrs": ("the folder of the CSRs", 0o022, "0755", Severity.WARNING),
}


def check(seen: Seen, now: datetime) -> Iterator[Finding]:
    """Find what is wrong on this machine with a keyring."""
    yield from _record(seen, now)
    yield from _compromised(seen, now)
    yield from _offline(seen, now)
    yield from _snippet(seen, now)
    yield from _keys(seen)
    yield from _csrs(seen)
    for place in seen.places:
        yield from _place(place, seen.owner)
    yield from _deleted(seen, now)
    for lineage in seen.lineages:
        yield from _lineage(seen, lineage, now)
    yield from _subdomains(seen)


def without_record(lineage: str) -> Finding:
    """Tell of a lineage that pinkeep renews and no keyring has."""
    return warning(
        lineage,
        "pinkeep renews it, by its renewal file, but no keyring has it. The lineage was not enrolled, or the "
        "record was lost.",
        f"Run: certbot renew --cert-name {quote(lineage)} --installer pinkeep -- if the record was lost, "
        "add the releases again that carry pins.",
    )


def refused_everywhere(error: BadOption) -> Finding:
    """Tell of an option in ``cli.ini`` that pinkeep does not take."""
    return warning(
        "cli.ini",
        f"'certbot renew' fails, and brings no keys and no pins up to date: {error}",
        f"Mend {error.option.removeprefix('--')} there, and run: certbot renew",
    )


def _record(seen: Seen, now: datetime) -> Iterator[Finding]:
    ledger, name = seen.state.ledger, seen.name
    unknown = ledger.with_latest_known(seen.latest_known).uncertainty(now)
    if unknown is not None and unknown.cause == "doubt":
        what = f"what was served is in doubt: {unknown.why}. pinkeep rolls no key over."
        yield warning(name, what, command(seen.mending))
    elif unknown is not None and unknown.cause == "clock":
        what = f"{unknown.why}. pinkeep rolls no key over until then."
        todo = (
            f"Set the clock right. If it is right now, run: certbot-pinkeep confirm {name} --clock"
        )
        yield warning(name, what, todo)
    if ledger.current is None:
        if seen.lineages:  # else all have moved away, and there is nothing to publish
            yield warning(name, "nothing is published yet.", command(seen.mending))
    elif _is_held_back(seen, now):
        yield _held_back(seen, ledger.current)
    elif ledger.pending and not seen.state.unpinned(now):
        yield _pending(seen, ledger.current)
    if seen.incoming:
        yield warning(
            name,
            f"{', '.join(seen.incoming)} came from another keyring, whose pins the server may still send "
            "there.",
            f"See that {seen.server} includes {seen.state.snippet}, reload {seen.server}, and run: "
            f"certbot-pinkeep confirm {name}",
        )


def _pending(seen: Seen, current: Entry) -> Finding:
    include = ""
    if seen.state.ledger.confirmed_policy() is None:
        include = f"See that {seen.server} includes {seen.state.snippet}. "
        if kind_of(seen.state.snippet, seen.snippet).name == "apache":
            include += "See that it has loaded mod_headers ('certbot-pinkeep setup' enables it). "
    since = times.text(current.recorded)
    what = f"{seen.server} is not known to have loaded what was published at {since}."
    return warning(seen.name, what, include + seen.loading)


def _is_held_back(seen: Seen, now: datetime) -> bool:
    """Say whether what is on record has not passed the server's test, and the snippet of before is back."""
    state, ledger = seen.state, seen.state.ledger
    if ledger.current is None or not ledger.pending or state.unpinned(now):
        return False
    kind = kind_of(state.snippet, seen.snippet)
    wanted = kind.render(state.keyring, ledger.current.policy)
    if state.tested == hashlib.sha256(wanted.encode()).hexdigest():
        return False
    if not state.snippet:
        return True  # it is noted with the first one that passes
    earlier = [entry.policy for entry in ledger.entries[:-1] if entry.replaced is None]
    there = kind.directives(seen.snippet)
    return there in [kind.directives(kind.render(state.keyring, one)) for one in earlier]


def _held_back(seen: Seen, current: Entry) -> Finding:
    test = f"Run: {seen.configtest} -- mend what it finds, and run" if seen.configtest else "Run"
    then = "" if seen.reloads else f"; then {seen.loading[0].lower()}{seen.loading[1:]}"
    return warning(
        seen.name,
        f"the pins of {times.text(current.recorded)} are not in place, and those of before stay: the "
        f"configuration test of {seen.server} failed, or the run was stopped.",
        f"{test}: {seen.mending}{then}",
    )


def _compromised(seen: Seen, now: datetime) -> Iterator[Finding]:
    keyring = seen.state.keyring
    for key in keyring.in_service():
        if key.role != "compromised":
            continue
        serving = [member.lineage for member in keyring.members if member.pin == key.pin]
        yield critical(
            ", ".join(serving),
            f"it serves the key with the pin {key.pin}, which is compromised.",
            _left_by(seen, key, serving, now),
        )


def _left_by(seen: Seen, key: Key, serving: list[str], now: datetime) -> str:
    """Tell how certificates leave a compromised key. If that is not the keyring's, no rollover is due."""
    name, keyring, key_type = seen.name, seen.state.keyring, key.kind.key_type
    if keyring.primary(key_type) is not None:
        renew = (f"certbot renew --cert-name {quote(one)} --force-renewal" for one in serving)
        return joined("Renew for another key.", *map(command, renew))
    decision = rollover.decide(keyring, seen.state.ledger, now, key_type)
    apart = {one.name: "autorenew = False" for one in seen.lineages if one.by_hand}
    todo = explain.promise(name, decision, apart=apart)
    if not decision.rolls_over or apart:
        return todo
    return joined(todo, "Roll over now.", command(f"certbot-pinkeep rollover {name} --now"))


def _offline(seen: Seen, now: datetime) -> Iterator[Finding]:
    keyring = seen.state.keyring
    for key_type in () if seen.state.unpin else keyring.served_types():
        decision = rollover.decide(keyring, seen.state.ledger, now, key_type)
        if decision.held and decision.safety.cause == "offline" and decision.key is not None:
            yield warning(
                seen.name,
                f"a rollover is due ({explain.reason(decision)}), but renewals keep the current key: "
                f"{decision.safety.why}.",
                command(f"certbot-pinkeep backup {seen.name} add --key FILE"),
            )


def _snippet(seen: Seen, now: datetime) -> Iterator[Finding]:
    state = seen.state
    if state.ledger.current is None or not state.snippet or _is_held_back(seen, now):
        return
    kind = kind_of(state.snippet, seen.snippet)
    published = kind.render(state.keyring, state.ledger.current.policy)
    wanted = [kind.directives(published)]
    if state.unpinned(now):  # max-age=0 goes at the next renewal
        wanted += [[], kind.directives(kind.render(state.keyring, None))]
    # A snippet of version 0.1 names no hosts. It counts wherever it is included.
    here = ("", kind.condition(published))
    if seen.snippet is None and [] not in wanted:
        what = f"the snippet is gone. After its next reload, {seen.server} sends no pins."
    elif kind.directives(seen.snippet) not in wanted:
        what = "the snippet is not what was published: it was edited, or an older one was put back."
    elif kind.condition(seen.snippet) not in here:
        what = (
            "the snippet sends the pins at other hosts than the keyring's: it was edited, or a run failed "
            "to write it."
        )
    else:
        return
    again = f"{seen.mending} -- it writes the snippet anew"
    if seen.snippet and not seen.snippet.startswith(apache.first_line(seen.name)):
        what = (
            "another file is in the place of the snippet, and pinkeep does not overwrite that file."
        )
        aside = quote(f"{state.snippet}.other")
        again = f"mv {quote(state.snippet)} {aside} -- then run: {again}"
    if not seen.reloads:
        again += f"; then reload {seen.server}, and run: certbot-pinkeep confirm {seen.name}"
    yield critical(state.snippet, what, command(again))


def _keys(seen: Seen) -> Iterator[Finding]:
    for key in seen.state.keyring.keys:
        if not key.fault or key.role not in HANDED_OVER:
            continue
        restore = f"Restore {seen.config_dir}/{key.path or key.encrypted} from a backup."
        if key.path is None:
            what = f"{key.fault} It is the encrypted key of a backup."
            bring = f"certbot-pinkeep backup {seen.name} add --keep-encrypted --key FILE"
            restore += f" Or bring the key again: {bring}"
        elif key.role == "backup":
            what = f"{key.fault} pinkeep cannot use this backup."
            restore += (
                f" If the key is lost for good, run: {seen.mending} -- it stages another backup."
            )
        elif seen.lives:
            what = f"{key.fault} The next renewal needs that key."
            restore += " Or run: certbot renew -- it takes the key from where it is live."
        else:
            what = f"{key.fault} The next certificate needs that key."
        yield critical(seen.name, what, restore)


def _csrs(seen: Seen) -> Iterator[Finding]:
    for key in seen.state.keyring.keys:
        if key.role not in ("primary", "backup") or key.path is None or key.fault:
            continue
        lacking = [
            one.name
            for one in seen.lineages
            if one.live is not None
            and one.live.key_type == key.kind.key_type
            and csr_request(key.pin, one.live.names, must_staple=one.must_staple)
            not in seen.requests
        ]
        if lacking:
            what = f"{', '.join(lacking)} has no saved CSR for the {key.role} key with the pin {key.pin}."
            yield warning(seen.name, what, command("certbot renew -- it saves another one"))


def _place(place: FileInfo, owner: int) -> Iterator[Finding]:
    what, forbidden, mode, severity = _MODES[place.kind]
    if place.mode & forbidden:
        written = place.kind == "keyring" and place.mode & 0o022
        yield Finding(
            Severity.CRITICAL if written else severity,
            place.path,
            f"it is {what} and other users can use it: its mode is {place.mode:04o}.",
            f"Run: chmod {mode} {quote(place.path)}",
        )
    # What is root's nobody else can change; that is as much as the admin's own folder needs.
    if place.owner != owner and (place.kind, place.owner) != ("foreign snippets", 0):
        yield Finding(
            severity,
            place.path,
            f"it is {what} and belongs to the user {place.owner}, but the user {owner} runs certbot.",
            f"Run: chown {owner} {quote(place.path)}",
        )


def _deleted(seen: Seen, now: datetime) -> Iterator[Finding]:
    """Tell that certbot renews a keyring no more, because it has no certificate, and that its pins bind."""
    gone = [one.name for one in seen.lineages if one.deleted]
    ledger = seen.state.ledger
    held = dict.fromkeys(host for one in ledger.holdings if one.may_bind(now) for host in one.hosts)
    # Once the keyring was published anew, it has left the keyring.
    lineage = gone[0] if gone else seen.name
    lost = held if not gone else not ledger.binds_nobody(now)
    if len(gone) != len(seen.lineages) or not lost or seen.state.unpin:
        return
    others = [
        one.lineage for one in seen.others if hostnames.covered(held, one.names, subdomains=False)
    ]
    pin = f"certbot-pinkeep pin {' '.join(map(quote, others))} -- it has a host of the keyring"
    again = explain_hosts.anew(seen.state.keyring, lineage, tuple(held))
    todo = pin if others else f"{again} -- for a new certificate with a pinned key"
    yield warning(
        seen.name,
        "certbot has no certificate of the keyring any more. Clients still hold its pins, and refuse "
        "every other key.",
        f"Run: {todo}; or, to leave pinning: certbot-pinkeep unpin {seen.name}",
    )


def _lineage(seen: Seen, lineage: Lineage, now: datetime) -> Iterator[Finding]:
    name = lineage.name
    if lineage.deleted:
        return  # told of the keyring, if it has no other
    if lineage.broken is not None:
        yield critical(name, lineage.broken.why, lineage.broken.mend)
    elif lineage.error:
        yield critical(
            name,
            lineage.error,
            f"Restore its files from a backup. If they are lost for good, move renewal/{name}.conf, "
            f"live/{name} and archive/{name} away, and run: {explain_hosts.anew(seen.state.keyring, name)}",
        )
    renew = f"certbot renew --cert-name {quote(name)} --force-renewal"
    if lineage.key_error and not (lineage.broken and lineage.broken.skipped):
        yield critical(name, lineage.key_error, command(renew))
    if lineage.revoked:
        yield critical(
            name,
            f"the CA has revoked its certificate ({lineage.revoked}). Clients that ask refuse it.",
            command(renew),
        )
    if lineage.live is not None:
        yield from _time(lineage.live, lineage.renew_before, seen, now)
        yield from _live_key(seen, lineage.live, now)
    if not lineage.error:
        yield from _renewal(lineage, unpinned=seen.state.unpinned(now))
    if lineage.refused is not None:
        what = f"'certbot renew' fails, and does not bring its keys and pins up to date: {lineage.refused}"
        yield warning(name, what, command(explain.given_anew(name, lineage.refused)))


def _time(
    live: Certificate, before: timedelta | None, seen: Seen, now: datetime
) -> Iterator[Finding]:
    renew = (
        "See why certbot does not renew it: certbot's log and timer, and 'certbot certificates'. Then run: "
        f"certbot renew --cert-name {quote(live.lineage)}"
    )
    end = times.text(live.end)
    if live.end <= now:
        what = f"its certificate expired at {end}."
        yield critical(live.lineage, what, renew)
    elif is_overdue(live, now, before):
        what = f"its certificate expires at {end}. Certbot should have renewed it by now."
        yield warning(live.lineage, what, renew)
    elif live.begin > now and not seen.state.ledger.is_ahead_of(now):
        what = f"its certificate is not valid before {times.text(live.begin)}."
        yield critical(live.lineage, what, "See that the clock is right.")


def _live_key(seen: Seen, live: Certificate, now: datetime) -> Iterator[Finding]:
    ledger = seen.state.ledger
    if ledger.current is None or live.pin in ledger.current.policy.pins:
        member = seen.state.keyring.member(live.lineage)
        if member is not None and member.pin != live.pin:
            yield from _other_key(seen, live, member.pin, now)
        return
    served = {shown.fingerprint for shown in seen.shown}
    if live.fingerprint in served or seen.state.unpinned(now):
        return  # site_rules tells it
    yield critical(
        live.lineage,
        f"its live key, with the pin {live.pin}, is not among the pins of the keyring {seen.name}. Clients "
        f"refuse it as soon as {seen.server} serves it.",
        f"Do not reload {seen.server}. Run: certbot renew --cert-name {quote(live.lineage)} --force-renewal",
    )


def _other_key(seen: Seen, live: Certificate, recorded: str, now: datetime) -> Iterator[Finding]:
    """Tell of a pinned key that somebody put in service without pinkeep."""
    what = "its live certificate has another key than the record has"
    if not rollover.locked_out(live.pin, seen.state.ledger, now, live.names):
        yield warning(live.lineage, f"{what}.", command("certbot renew"))
    elif live.fingerprint not in {shown.fingerprint for shown in seen.shown}:
        yield critical(
            live.lineage,
            f"{what}, with the pin {live.pin}. Clients that hold earlier pins refuse it as soon as "
            f"{seen.server} serves it.",
            f"Do not reload {seen.server}. {put_back(recorded)}",
        )


def _renewal(lineage: Lineage, *, unpinned: bool) -> Iterator[Finding]:
    name = lineage.name
    if lineage.misnamed:
        right = f"{lineage.misnamed.rpartition('/')[0]}/{name}.conf"
        yield warning(
            name,
            f"its renewal file is {lineage.misnamed}, so certbot does not know it by its own name.",
            joined(
                "Give the file the name of the certificate.",
                command(f"mv {quote(lineage.misnamed)} {quote(right)}"),
            ),
        )
    if lineage.by_hand:
        yield warning(
            name,
            "its renewal file says 'autorenew = False', so certbot renew passes over it.",
            f"Run: sed -i 's/^autorenew = .*/autorenew = True/' {quote(lineage.by_hand)}",
        )
    if not lineage.reuse_key and not unpinned:
        where, first = "its renewal file has no 'reuse_key = True'", ""
        if lineage.reuse_denied:
            where = "cli.ini says 'reuse-key = false'"
            first = "Take 'reuse-key = false' out of cli.ini. "
        yield warning(
            name,
            f"{where}. Without pinkeep, certbot would make a new key.",
            f"{first}Run: certbot renew --cert-name {quote(name)}",
        )


def _subdomains(seen: Seen) -> Iterator[Finding]:
    current, keyring = seen.state.ledger.current, seen.state.keyring
    if current is None or seen.state.unpin:
        return
    policy = current.policy
    below = [
        other.lineage
        for other in seen.others
        if hostnames.covered(keyring.hosts, other.names, subdomains=True)
        and other.pin not in policy.pins
    ]
    move = (
        f"certbot renew --cert-name {quote(below[0])} --force-renewal --installer pinkeep "
        f"--pinkeep-keyring {seen.name}"
        if below
        else f"{seen.mending} -- it says what to do"
    )
    if policy.include_subdomains and below:
        report = critical if policy.binding else warning
        yield report(
            seen.name,
            f"includeSubDomains covers certificates whose keys are not pinned: {', '.join(below)}. "
            "Clients that hold the pins refuse these certificates.",
            command(move),
        )
    if seen.chosen.include_subdomains and not policy.include_subdomains:
        named = f", which would cover {', '.join(below)}" if below else ""
        what = f"--pinkeep-include-subdomains is set, but includeSubDomains is left out{named}."
        yield warning(seen.name, what, command(move))
