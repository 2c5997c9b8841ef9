"""Which key the next certificate is issued for. Pure: keyring, ledger and now in, decision out.

The rules:

* A rollover to a key is safe if every policy and release that still binds contains the pin (G2, RFC 7469
  §2.6). For one certificate, those count that bind at its names. A policy that may still be served has no
  known end. While one lacks the pin, it is unknown from when a rollover is safe.
* While clients may hold what is not on record (see ``Ledger.uncertainty``), nothing is safe (G8).
* The next certificate is issued for the primary, until a rollover is due: by the primary's age in service, on
  the admin's request, after a revocation, or because the key is compromised. An unknown age is not due (G8).
* If a rollover is due, the first safe backup is taken. If none is safe, the primary goes on (G3). A
  compromised one never does.
* A backup whose private key is offline is safe as any other, but cannot be handed over: when its
  turn has come, the primary goes on, and the admin is asked for the private key. Only in place of a
  compromised key the next safe one that is available is taken.
* A rollover of the keyring is one of all key types in service: it is safe once it is for each of
  them.
* A backup whose file cannot be used is passed over, here and nowhere else (see ``Key.fault``).
* A certificate may not serve the primary yet: it joined with a key of its own, or another one was rolled over
  first. Such a certificate is issued for the primary as soon as that is safe at its names; until then it
  keeps its key. Age is no reason to roll a primary over that it does not serve.
* A new certificate is issued for the primary, unless policies are known to bind at its names that
  lack it: then it is not issued.
* The admin can force a backup. A forced backup is taken whoever is locked out; who that is, and until when,
  follows from the ledger. The force holds for the certificates of that time, until they have followed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from certbot_pinkeep.core import times
from certbot_pinkeep.core.holdings import Entry, Holding, Release, ZoneEntry
from certbot_pinkeep.core.keyring import Key, Keyring
from certbot_pinkeep.core.kinds import KeyType
from certbot_pinkeep.core.ledger import Ledger

#: What keeps it unknown from when a rollover is safe.
Cause = Literal["", "doubt", "clock", "pending", "transferred", "none", "offline", "unseen", "zone"]
Reason = Literal["age", "asked", "revoked", "compromised", "shared"]
Hosts = tuple[str, ...]


@dataclass(frozen=True)
class Certificate:
    """The certificate that a key is looked for.

    :ivar hosts: its names
    :ivar pin: the pin of the key that it has now; ``None``: it is a new one
    """

    hosts: Hosts
    pin: str | None


@dataclass(frozen=True)
class Safety:
    """When a rollover to a key locks nobody out.

    :ivar since: the earliest such time, which may lie ahead; ``None`` while unknown
    :ivar why: the reason while it is not safe, as a part of a sentence; empty when it is
    :ivar cause: what keeps the time unknown
    """

    since: datetime | None
    why: str = ""
    cause: Cause = ""

    def at(self, now: datetime) -> bool:
        """Return whether a rollover is safe at *now*."""
        return not self.why and self.since is not None and self.since <= now


@dataclass(frozen=True)
class Decision:
    """What the next certificate is issued for, and why.

    :ivar key: the key; ``None`` when there is none that may be handed over
    :ivar due: why a rollover is due; ``None``: none is
    :ivar best: the backup to roll over to, now or as soon as it is safe; ``None`` without a backup
    :ivar safety: when a rollover to that one is safe
    :ivar available: if the private key of the best one is offline: the best one that is here
    :ivar available_since: from when a rollover to that one is safe; ``None``: unknown, or it is
    """

    key: Key | None
    due: Reason | None
    best: Key | None
    safety: Safety
    available: Key | None = None
    available_since: datetime | None = None

    @property
    def rolls_over(self) -> bool:
        """Whether the next certificate is issued for another key than the primary."""
        return self.key is not None and self.key is self.best and self.due is not None

    @property
    def held(self) -> bool:
        """Whether a rollover is due that is not safe yet."""
        return self.due is not None and not self.rolls_over


def decide(
    keyring: Keyring,
    ledger: Ledger,
    now: datetime,
    key_type: KeyType,
    *,
    asked: bool = False,
    certificate: Certificate | None = None,
) -> Decision:
    """Return what the next certificate of *key_type* is issued for.

    :param asked: whether a rollover is asked for, beyond what the keyring says
    :param certificate: which one; ``None``: all that serve the primary
    """
    primary = keyring.primary(key_type)
    hosts = certificate.hosts if certificate else None
    follows = _follows(keyring, primary, certificate)
    due = _due(keyring, now, key_type, follows=follows) or ("asked" if asked else None)
    found = replace(_next_backup(keyring, ledger, now, key_type, hosts), due=due)
    best, verdict = found.best, found.safety
    if due and best is not None and (best.forced or verdict.at(now)):
        return replace(found, key=best)
    if certificate is None or (primary is not None and not follows):
        return replace(found, key=primary)
    kept = _kept(keyring, certificate)
    if primary is None or (due and kept is not None):
        return replace(found, key=kept)
    ready = _ready_to_follow(primary, ledger, now, certificate)
    if ready.at(now):
        return replace(found, key=primary)
    if kept is not None or certificate.pin is None:
        return Decision(kept, "shared", primary, ready)
    if best is None:
        return Decision(None, "compromised", primary, ready)
    return replace(found, due="compromised")


def decide_all(keyring: Keyring, ledger: Ledger, now: datetime) -> dict[KeyType, Decision]:
    """Return what the next certificates are issued for, of each type in service."""
    return {key_type: decide(keyring, ledger, now, key_type) for key_type in keyring.served_types()}


def last(decisions: Mapping[KeyType, Decision]) -> Safety:
    """Return when a rollover of the keyring is safe: when it is for the type for which it is last.

    :param decisions: those of all types in service
    """
    verdicts = [decision.safety for decision in decisions.values()]
    return max(verdicts, key=_lateness, default=Safety(None, "there is no key", "none"))


def _lateness(verdict: Safety) -> tuple[bool, bool, datetime]:
    """Return what is unknown comes last, and before that what waits for the admin."""
    since = verdict.since
    return since is None, verdict.cause == "offline", since or datetime.max


def _follows(keyring: Keyring, primary: Key | None, certificate: Certificate | None) -> bool:
    """Return whether the certificate is to follow others to the primary. One with a retired or unknown key
    was renewed without pinkeep: it goes back to the primary."""
    if certificate is None or primary is None or certificate.pin == primary.pin:
        return False
    if certificate.pin is None:
        return True
    key = keyring.key(certificate.pin)
    return key is not None and key.role != "retired"


def _kept(keyring: Keyring, certificate: Certificate) -> Key | None:
    """Return the key that the certificate has, if it can go on with that key."""
    key = keyring.key(certificate.pin) if certificate.pin else None
    return key if key is not None and key.role not in ("compromised", "retired") else None


def _ready_to_follow(
    primary: Key, ledger: Ledger, now: datetime, certificate: Certificate
) -> Safety:
    """Return when a certificate that does not serve the primary can be issued for it.

    If it is new, only what is known stands against it.
    """
    accepted = not locked_out(primary.pin, ledger, now, certificate.hosts)
    new = certificate.pin is None
    if (primary.forced and not new) or (new and accepted):
        return Safety(now)
    return safety(primary, ledger, now, certificate.hosts)


def _next_backup(
    keyring: Keyring, ledger: Ledger, now: datetime, key_type: KeyType, hosts: Hosts | None
) -> Decision:
    """Return which backup to roll over to, and when. One that is offline has to be imported."""
    best, verdict = best_backup(keyring, ledger, now, key_type, hosts)
    if best is None or not best.offline:
        return Decision(None, None, best, verdict)
    here, ready = best_backup(keyring.without_offline(), ledger, now, key_type, hosts)
    if keyring.primary(key_type) is None and here is not None and ready.at(now):
        return Decision(None, None, here, ready)
    if verdict.at(now):
        where = f"is encrypted, in {best.encrypted}" if best.encrypted else "is not on this machine"
        why = f"the private key of its next backup, with the pin {best.pin}, {where}"
        verdict = Safety(verdict.since, why, "offline")
    return Decision(None, None, best, verdict, here, None if ready.at(now) else ready.since)


def best_backup(
    keyring: Keyring,
    ledger: Ledger,
    now: datetime,
    key_type: KeyType,
    hosts: Hosts | None = None,
) -> tuple[Key | None, Safety]:
    """Return the backup to roll over to: the forced one, else the first one that is safe, else the one that
    is safe first; ``None`` if no backup can be used."""
    backups = keyring.backups(key_type)
    verdicts = [(key, safety(key, ledger, now, hosts)) for key in backups if not key.is_lost]
    for key, verdict in verdicts:
        if key.forced:
            return key, verdict
    for key, verdict in verdicts:
        if verdict.at(now):
            return key, verdict
    known = [(verdict.since, key, verdict) for key, verdict in verdicts if verdict.since]
    if known:
        _, key, verdict = min(known, key=lambda one: one[0])
        return key, verdict
    why = "no backup key can be used" if backups else "there is no backup key"
    return verdicts[0] if verdicts else (None, Safety(None, why, "none"))


def safety(key: Key, ledger: Ledger, now: datetime, hosts: Hosts | None = None) -> Safety:
    """Return when a rollover to *key* is safe, seen from *now*.

    :param hosts: the names at which it is to be served; ``None``: at all that are pinned
    """
    since, who = key.created, "clients may hold"
    cause: Cause = ""
    unknown = ledger.uncertainty(now)
    if unknown is not None and unknown.end is None:
        return Safety(None, unknown.why, unknown.cause)
    if unknown is not None and unknown.end is not None:
        since, who = max(since, unknown.end), f"{unknown.why}: clients may hold"
    for one in lacking(key.pin, ledger, hosts):
        if not isinstance(one, Release) and one.replaced is None:
            return _unknown(one, ledger)
        if one.binds_until(now) > since:
            who, cause = _holders(one)
        since = max(since, one.binds_until(now))
    why = "" if since <= now else f"{who} pins without it until {times.text(since)}"
    return Safety(since, why, cause if why else "")


def _unknown(one: Entry | ZoneEntry, ledger: Ledger) -> Safety:
    """Return what may still be served, so that nobody knows until when it binds."""
    if isinstance(one, ZoneEntry):
        if one.is_placeholder:
            return Safety(None, f"not every name server could be asked for {one}", "zone")
        return Safety(None, f"a name server may still serve {one} without it", "zone")
    if one in ledger.imported:
        why = "pins of the keyring that was left may still be served"
        return Safety(None, why, "transferred")
    return Safety(None, "pins without it may still be served", "pending")


def _holders(one: Holding) -> tuple[str, Cause]:
    """Return who holds what is not served any more, as the beginning of a sentence."""
    if isinstance(one, ZoneEntry):
        return f"resolvers may hold {one} with", ""
    if isinstance(one, Entry):
        return "clients may hold", ""
    if one.is_unseen:
        return f"what {', '.join(one.hosts)} sent before is unknown: clients may hold", "unseen"
    return f"{one} carries", ""


def lacking(pin: str, ledger: Ledger, hosts: Hosts | None = None) -> tuple[Holding, ...]:
    """Return what is on record that binds at the hosts and lacks *pin*: who holds it is locked out by the
    key of that pin (RFC 7469 §2.6)."""
    return tuple(one for one in ledger.holdings if pin not in one.pins and one.binds_at(hosts))


def locked_out(
    pin: str, ledger: Ledger, now: datetime, hosts: Hosts | None = None
) -> tuple[Holding, ...]:
    """Return what locks out its holders by the key of *pin*, served at *now*."""
    return tuple(one for one in lacking(pin, ledger, hosts) if one.may_bind(now))


def next_due(keyring: Keyring, now: datetime, key_type: KeyType) -> datetime | None:
    """Return when the next rollover is due; ``None``: never, or unknown."""
    primary = keyring.primary(key_type)
    if primary is None or primary.retire_reason:
        return now
    if keyring.rollover_days is None or primary.first_served is None:
        return None
    return primary.first_served + timedelta(days=keyring.rollover_days)


def _due(
    keyring: Keyring, now: datetime, key_type: KeyType, *, follows: bool = False
) -> Reason | None:
    primary = keyring.primary(key_type)
    if primary is None:
        return "compromised"
    if primary.retire_reason and primary.retire_reason != "lost":  # that is said of retired ones
        return primary.retire_reason
    if follows:
        return None
    since = next_due(keyring, now, key_type)
    return "age" if since is not None and since <= now else None
