"""Which key the next certificate is issued for. Pure: keyring, ledger and now in, decision out.

The rules:

* Switching to a key is safe when every policy that still binds contains its pin (G2, RFC 7469
  §2.6). A policy that may still be served has no known end: while one lacks the pin, the time from
  which switching is safe is unknown.
* A ledger that is blind to what was served before, or that knows moments later than now (a clock
  that ran backwards), makes nothing safe (G8).
* The next certificate is issued for the primary. Where a rollover is asked for, it is issued for
  the first backup that is safe; where none is, it is refused, with the earliest safe time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from certbot_pinkeep import moments
from certbot_pinkeep.errors import NotSafe
from certbot_pinkeep.keyring import Key, Keyring
from certbot_pinkeep.ledger import Ledger
from certbot_pinkeep.pins import KeyType


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


def safety(key: Key, ledger: Ledger, now: datetime) -> Safety:
    """When switching to *key* is safe, seen from *now*."""
    latest = ledger.latest()
    if latest is not None and latest > now:
        return Safety(None, f"the clock is behind the ledger, which has {moments.text(latest)}")
    since = key.created
    if ledger.blind_until is not None and ledger.blind_until > now:
        since = max(since, ledger.blind_until)
    for entry in ledger.entries:
        if key.pin in entry.policy.pins or not entry.policy.binding:
            continue
        if entry.replaced is None:
            return Safety(None, "a policy without its pin may still be served")
        since = max(since, entry.binds_until(now))
    why = "" if since <= now else f"clients may hold pins without it until {moments.text(since)}"
    return Safety(since, why)


def next_key(
    keyring: Keyring, ledger: Ledger, now: datetime, key_type: KeyType, asked: bool = False
) -> Key:
    """The key that the next certificate of *key_type* is issued for.

    :param asked: whether a rollover is asked for
    :raises NotSafe: when it is, and no backup is safe
    :raises KeyError: when the keyring has no key of this type
    """
    primary = keyring.primary(key_type)
    if primary is None:
        raise KeyError(key_type)
    if not asked:
        return primary
    verdicts = [(key, safety(key, ledger, now)) for key in keyring.backups(key_type)]
    for key, verdict in verdicts:
        if verdict.at(now):
            return key
    raise NotSafe(_refusal(keyring.name, verdicts))


def _refusal(name: str, verdicts: list[tuple[Key, Safety]]) -> str:
    if not verdicts:
        return f"The keyring {name} has no backup to roll over to. Run: certbot renew"
    times = [verdict.since for _, verdict in verdicts if verdict.since is not None]
    when = (
        f"The earliest safe time is {moments.text(min(times))}"
        if times
        else "From when it is safe is not known yet: reload Apache, so that the present pins are "
        "served, and ask again"
    )
    return (
        f"The keyring {name} cannot roll over without locking clients out: {verdicts[0][1].why}. "
        f"{when}. Until then, renew with the current key: leave --new-key out."
    )
