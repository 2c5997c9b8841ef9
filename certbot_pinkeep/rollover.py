"""Which key the next certificate is issued for. Pure: keyring, ledger and now in, decision out.

The rules:

* Switching to a key is safe when every policy that still binds contains its pin (G2, RFC 7469
  §2.6). A policy that may still be served has no known end: while one lacks the pin, the time from
  which switching is safe is unknown.
* A ledger that is in doubt, that is blind to what was served before, or that knows moments later
  than now (a clock that ran backwards), makes nothing safe (G8).
* The next certificate is issued for the primary, until a rollover is due: by the primary's age
  since its first service, on the admin's wish, after a revocation, or because the key is
  compromised. An unknown age is not due (G8).
* Where a rollover is due, the first backup that is safe is taken. Where none is, the primary goes
  on (G3), but for a compromised one, which is never handed over again.
* The admin can force a backup. It is taken whoever is locked out; who that is, and until when,
  follows from the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from certbot_pinkeep import moments
from certbot_pinkeep.keyring import Key, Keyring
from certbot_pinkeep.ledger import Entry, Ledger
from certbot_pinkeep.pins import KeyType

Reason = Literal["age", "asked", "revoked", "compromised"]


@dataclass(frozen=True)
class Safety:
    """When switching to a key locks nobody out.

    :ivar since: the earliest such time, which may lie ahead; ``None`` while unknown
    :ivar why: the reason while it is not safe, as a part of a sentence; empty when it is
    """

    since: datetime | None
    why: str = ""

    def at(self, now: datetime) -> bool:
        """Whether switching is safe at *now*."""
        return not self.why and self.since is not None and self.since <= now


@dataclass(frozen=True)
class Decision:
    """What the next certificate is issued for, and why.

    :ivar key: the key; ``None`` when there is none that may be handed over
    :ivar due: why a rollover is due; ``None``: none is
    :ivar best: the backup to switch to, now or as soon as it is safe; ``None`` without a backup
    :ivar safety: when switching to that one is safe
    """

    key: Key | None
    due: Reason | None
    best: Key | None
    safety: Safety

    @property
    def rolls_over(self) -> bool:
        """Whether the next certificate is issued for another key than the primary."""
        return self.key is not None and self.key is self.best and self.due is not None

    @property
    def held(self) -> bool:
        """Whether a rollover is due that is not safe yet."""
        return self.due is not None and not self.rolls_over


def decide(
    keyring: Keyring, ledger: Ledger, now: datetime, key_type: KeyType, asked: bool = False
) -> Decision:
    """What the next certificate of *key_type* is issued for.

    :param asked: whether a rollover is asked for, beyond what the keyring says
    """
    primary = keyring.primary(key_type)
    due = _due(keyring, now, key_type) or ("asked" if asked else None)
    best, verdict = best_backup(keyring, ledger, now, key_type)
    ready = best is not None and (best.forced or verdict.at(now))
    return Decision(best if due and ready else primary, due, best, verdict)


def best_backup(
    keyring: Keyring, ledger: Ledger, now: datetime, key_type: KeyType
) -> tuple[Key | None, Safety]:
    """The backup to switch to: the forced one, else the first one that is safe, else the one that
    is safe first; ``None`` where there is no backup."""
    verdicts = [(key, safety(key, ledger, now)) for key in keyring.backups(key_type)]
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
    return verdicts[0] if verdicts else (None, Safety(None, "there is no backup key"))


def safety(key: Key, ledger: Ledger, now: datetime) -> Safety:
    """When switching to *key* is safe, seen from *now*."""
    if ledger.doubt:
        return Safety(None, ledger.doubt)
    if ledger.is_ahead_of(now):
        return Safety(None, clock(ledger, now))
    since = key.created
    if ledger.blind_until is not None and ledger.blind_until > now:
        since = max(since, ledger.blind_until)
    for entry in lacking(key.pin, ledger):
        if entry.replaced is None:
            return Safety(None, "pins without it may still be served")
        since = max(since, entry.binds_until(now))
    why = "" if since <= now else f"clients may hold pins without it until {moments.text(since)}"
    return Safety(since, why)


def clock(ledger: Ledger, now: datetime) -> str:
    """Why nothing follows from a ledger that is ahead of *now*, as a part of a sentence."""
    latest = moments.text(ledger.latest() or now)
    return (
        f"the clock says {moments.text(now)}, but {latest} was reached before (where the clock is "
        "right now, tell with: certbot-pinkeep confirm NAME --clock)"
    )


def lacking(pin: str, ledger: Ledger) -> tuple[Entry, ...]:
    """The policies on record that bind clients and lack *pin*: who holds one is locked out by the
    key of that pin (RFC 7469 §2.6)."""
    return tuple(
        entry for entry in ledger.entries if entry.policy.binding and pin not in entry.policy.pins
    )


def next_due(keyring: Keyring, now: datetime, key_type: KeyType) -> datetime | None:
    """From when the next rollover is due; ``None``: never, or unknown."""
    primary = keyring.primary(key_type)
    if primary is None or primary.leave:
        return now
    if keyring.rollover_days is None or primary.first_served is None:
        return None
    return primary.first_served + timedelta(days=keyring.rollover_days)


def _due(keyring: Keyring, now: datetime, key_type: KeyType) -> Reason | None:
    primary = keyring.primary(key_type)
    if primary is None:
        return "compromised"
    if primary.leave:
        return primary.leave
    since = next_due(keyring, now, key_type)
    return "age" if since is not None and since <= now else None
