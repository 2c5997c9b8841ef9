"""What hosts sent before pinkeep pinned them: what was seen in, what is recorded out. Pure.

The rules:

* A client pins by the first Public-Key-Pins header only (RFC 7469 §2.3.1). The report-only header
  binds nobody.
* A header is believed only if the handshake proved a key whose private half this machine has: live, of
  a keyring, kept from an earlier certificate, or imported. Otherwise somebody else could block
  rollovers with an absurd max-age. A compromised key proves nothing.
* If the certificate is not valid for the host's name (another virtual host answers), no client notes anything
  (§2.5). That host sends nothing, and nothing is said.
* What the keyring published itself is no earlier header, also if it is replaced already.
* A header that does not list the served key is not recorded: clients ignore it, or it pins a CA
  (§2.5).
* A header with one pin is recorded, too: not every client insists on a backup (§2.5).
* What is believed is recorded as a policy that was served until now. While the host goes on sending
  it, each later look makes it "until then"; the first look that does not see it any more ends that.
* A pin of that header without a key on this machine is a backup that is kept offline. Its type is
  taken to be that of the live key until its key or CSR is imported.
* A host that has an address, and that nobody could see there, may have sent anything: no rollover before
  clients have forgotten that. Every run looks at such a host again, until it is seen without pins, or with
  others than pinkeep's own: those tell nothing of what was before.
* A host above that this machine has a certificate for is looked at as well: what it sends with
  includeSubDomains binds below, whichever of them is pinned first (§2.1.2).
* A release stands for what an unseen host may have sent: with the keys that were live then, for the default
  max-age. A look that sees the host without pinkeep's header ends it, and so does the admin.
* Nobody looks at wildcards, nor at IP addresses, which clients do not pin (§2.3.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from certbot_pinkeep.core import certificate as certificates
from certbot_pinkeep.core import explain_hosts, hostnames, staging
from certbot_pinkeep.core.errors import BadHeader, BadKey
from certbot_pinkeep.core.header import Header, read_header
from certbot_pinkeep.core.holdings import UNSEEN, Entry, Release, without
from certbot_pinkeep.core.key_and_csr import SavedKey
from certbot_pinkeep.core.keyring import Key
from certbot_pinkeep.core.kinds import KeyKind
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.observations import TlsObservation
from certbot_pinkeep.core.pins import NOBODY
from certbot_pinkeep.core.policy import ENFORCED, Policy
from certbot_pinkeep.core.state import State

#: How many hosts of a certificate are looked at.
MOST = 20


@dataclass(frozen=True)
class Found:
    """What the hosts of a certificate send.

    :ivar sent: what is believed: the policies, and the hosts that send each of them
    :ivar without: the hosts with a key of ours that send nothing that binds
    :ivar foreign: those that send pins, but did not prove a key of this machine
    :ivar unlisted: those that send pins without the key that they serve
    :ivar unseen: those that could not be looked at, and why
    :ivar silent: of those, the names of the certificate itself that have an address
    """

    sent: Mapping[Policy, tuple[str, ...]] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    unseen: Mapping[str, str] = field(default_factory=dict)
    silent: tuple[str, ...] = ()


def hosts_to_see(names: Iterable[str]) -> tuple[str, ...]:
    """Return those of the names that can be looked at; the first ones, if they are many."""
    found = (one for one in names if not one.startswith("*.") and not hostnames.is_address(one))
    return tuple(found)[:MOST]


def found(
    names: Sequence[str],
    shown: Iterable[TlsObservation],
    is_held: Callable[[str], bool],
    above: Sequence[str] = (),
) -> Found:
    """Return what was seen at the names of a certificate.

    :param shown: what was seen; one host may be there several times
    :param is_held: whether this machine has the private key of a pin
    :param above: the hosts above, of which only what binds below counts
    """
    sent: dict[Policy, dict[str, None]] = {}
    without, foreign, unlisted, silent, answered = [], [], [], [], set()
    unseen = {name: "" for name in (*names, *above) if not hostnames.is_address(name)}
    for one in shown:
        if one.certificate is None or one.stopped:
            if one.host not in answered and one.host in unseen:
                unseen[one.host] = one.error
                silent += [one.host] if one.address else []
            continue
        header = _first(one)
        if header is not None and one.host in above and not header.include_subdomains:
            header = None
        valid_for, pin = _facts(one.certificate)
        answered.add(one.host)
        unseen.pop(one.host, None)
        if not any(hostnames.holds(name, one.host, subdomains=False) for name in valid_for):
            continue
        if not is_held(pin):
            foreign += [one.host] if header is not None else []
        elif header is None or not header.max_age:
            without.append(one.host)
        elif pin not in header.pins:
            unlisted.append(one.host)
        else:
            sent.setdefault(_policy(header), {})[one.host] = None
    sending = {host for hosts in sent.values() for host in hosts}
    return Found(
        {policy: tuple(hosts) for policy, hosts in sent.items()},
        tuple(dict.fromkeys(host for host in without if host not in sending)),
        tuple(dict.fromkeys(foreign)),
        tuple(dict.fromkeys(unlisted)),
        unseen,
        tuple(dict.fromkeys(host for host in silent if host in unseen and host not in above)),
    )


def recorded(
    state: State,
    seen: Found,
    kind: KeyKind,
    *,
    saved: Callable[[str], SavedKey | None],
    no_backups: Iterable[str],
    now: datetime,
) -> State:
    """Return the state with what the hosts of a certificate send.

    :param kind: that of its live key
    :param saved: finds the file of a key by its pin
    :param no_backups: pins that are not those of backups: a CA's
    """
    served = [_meaning(one.policy) for one in state.ledger.known if not one.replaced]
    others = {one: hosts for one, hosts in seen.sent.items() if _meaning(one) not in served}
    still = {host for hosts in others.values() for host in hosts}
    ours = {host for hosts in seen.sent.values() for host in hosts} - still
    ledger, keyring = with_not_sent(state.ledger, (*seen.without, *ours), now), state.keyring
    ledger = (
        with_seen(ledger, (*seen.without, *seen.unlisted, *still)) if ledger.releases else ledger
    )
    not_backups = {NOBODY, *no_backups}
    for policy, hosts in others.items():
        ledger = with_sent(ledger, policy, hosts, now)
        for pin in () if _is_own(policy, state) else policy.pins:
            if keyring.key(pin) is not None or pin in not_backups:
                continue
            key = saved(pin)
            known, path = (key.kind, key.path) if key else (kind, None)
            keyring = staging.with_backup(keyring, Key(pin, known, "backup", path, now))
    return replace(state, keyring=keyring, ledger=ledger)


def told(name: str, before: State, after: State, seen: Found, now: datetime) -> list[str]:
    """Return what there is to say of headers that were seen, as sentences.

    :param name: the keyring's
    :param before: the state before they were recorded
    """
    sentences = []
    known, had = before.ledger.imported, {key.pin for key in before.keyring.keys}
    added = [key.pin for key in after.keyring.keys if key.offline and key.pin not in had]
    for policy, hosts in seen.sent.items():
        if _is_own(policy, before):
            continue
        new = [one for one in after.ledger.imported if one not in known and one.policy == policy]
        if new:
            offline = [pin for pin in policy.pins if pin in added]
            sentences.append(explain_hosts.sent_before(name, hosts, policy, offline, now))
    if seen.foreign:
        sentences.append(explain_hosts.sent_by_others(name, seen.foreign))
    if seen.unlisted:
        sentences.append(explain_hosts.sent_without_key(name, seen.unlisted))
    return sentences


def _is_own(policy: Policy, state: State) -> bool:
    """Return whether the keyring published it itself."""
    return _meaning(policy) in [_meaning(entry.policy) for entry in state.ledger.entries]


def _meaning(policy: Policy) -> tuple[frozenset[str], timedelta, bool]:
    """Return what a policy binds clients to."""
    return frozenset(policy.pins), policy.binding, policy.include_subdomains


def _first(shown: TlsObservation) -> Header | None:
    """Return the header that clients take; ``None``: none, or none that they can read."""
    values = [value for name, value in shown.headers if name.lower() == ENFORCED.lower()]
    try:
        return read_header(values[0]) if values else None
    except BadHeader:
        return None


def _facts(certificate: bytes) -> tuple[tuple[str, ...], str]:
    """Return the hosts and the pin of a certificate in DER; empty: it cannot be read."""
    try:
        read = certificates.read("", certificate)
    except BadKey:
        return (), ""
    return hostnames.hosts(read.names), read.pin


def _policy(header: Header) -> Policy:
    listed = tuple(dict.fromkeys(header.pins))
    if len(listed) < 2:
        listed = (*listed, NOBODY)
    return Policy(listed, header.max_age, header.include_subdomains)


# In the ledger


def with_sent(ledger: Ledger, policy: Policy, hosts: tuple[str, ...], at: datetime) -> Ledger:
    """Note that hosts were seen sending a policy that no keyring publishes: until now."""
    now = ledger.not_before(at)
    known = [e for e in ledger.imported if e.policy == policy and e.hosts == hosts and e.is_awaited]
    others = tuple(entry for entry in ledger.imported if entry not in known)
    recorded = min((entry.recorded for entry in known), default=now)
    return replace(ledger, imported=(*others, Entry(policy, recorded, None, now, hosts)))


def with_not_sent(ledger: Ledger, hosts: Iterable[str], at: datetime) -> Ledger:
    """Note that hosts were seen without what they had been seen sending: until now at most."""
    silent, end = set(hosts), ledger.not_before(at)
    ended = tuple(
        replace(entry, confirmed=end, replaced=end)
        if entry.is_awaited and silent.issuperset(entry.hosts)
        else entry
        for entry in ledger.imported
    )
    return replace(ledger, imported=ended)


def with_unseen(
    ledger: Ledger, pins: Iterable[str], hosts: tuple[str, ...], at: datetime, held: timedelta
) -> Ledger:
    """Note that it is unknown what hosts sent until now, beside these pins.

    :param held: for how long clients are taken to hold it
    """
    if not hosts:
        return ledger
    begin = ledger.not_before(at)
    added = Release(*UNSEEN, tuple(dict.fromkeys(pins)), hosts, begin, begin + held)
    return ledger.with_carried(added)


def with_seen(ledger: Ledger, hosts: Iterable[str]) -> Ledger:
    """Note that hosts were seen, and nothing about them is unknown any more."""
    seen, releases = set(hosts), list[Release]()
    for one in ledger.releases:
        releases += without([one], seen) if one.is_unseen else [one]
    return replace(ledger, releases=tuple(releases), latest_known=ledger.latest())
