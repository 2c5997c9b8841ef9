"""What admins are told about a rollover: why, from when, who is locked out, what to run. Pure.

The rules:

* A refusal names the earliest safe time, or says why it is unknown and what makes it known.
* Who is locked out is told policy by policy: since when it was served, and until when clients hold
  it. What is not known is said to be unknown.
* Pins are public, private keys never occur here (G7).
"""

from __future__ import annotations

from datetime import datetime

from certbot_pinkeep import moments, rollover
from certbot_pinkeep.keyring import Key
from certbot_pinkeep.ledger import Entry, Ledger
from certbot_pinkeep.rollover import Decision, Safety

_REASONS = {
    "age": "it has reached --pinkeep-rollover-days",
    "asked": "you asked for it",
    "revoked": "its certificate was revoked",
    "compromised": "it is compromised",
}


def reason(decision: Decision) -> str:
    """Why a rollover is due, as a part of a sentence."""
    return _REASONS[decision.due] if decision.due else "nothing is due"


def rolling(name: str, decision: Decision) -> str:
    """Said when a certificate is about to be issued for a backup."""
    assert decision.key is not None
    return (
        f"The keyring {name} rolls over to the key with the pin {decision.key.pin}: the present "
        f"key is left because {reason(decision)}."
    )


def held(name: str, decision: Decision) -> str:
    """Said when a renewal goes on with the primary though a rollover is due (G3)."""
    return (
        f"The key of the keyring {name} is to be exchanged because {reason(decision)}, but not "
        f"yet: {decision.safety.why}. {_when(decision.safety)} This renewal keeps the key; the "
        "first one after that exchanges it."
    )


def promise(name: str, decision: Decision, force: bool = False) -> str:
    """Said when a rollover is on record, as what the next renewal is going to do."""
    if decision.best is None:
        return f"The keyring {name} rolls over once it has a backup key. Run: certbot renew"
    pin = decision.best.pin
    if decision.rolls_over or force:
        return f"The next renewal rolls the keyring {name} over to the key with the pin {pin}."
    goes_on = (
        "Until then renewals keep the present key."
        if decision.key is not None
        else "The present key is not handed over again: until then renewals fail. To renew now, and "
        f"lock clients out, run: certbot-pinkeep rollover {name} --now --force"
    )
    return (
        f"The first renewal that is safe rolls the keyring {name} over to the key with the pin "
        f"{pin}: {decision.safety.why}. {_when(decision.safety)} {goes_on}"
    )


def refusal(name: str, decision: Decision) -> str:
    """Said when a rollover that was asked for would lock clients out (G2)."""
    return (
        f"The keyring {name} cannot roll over without locking clients out: {decision.safety.why}. "
        f"{_when(decision.safety)} Nothing was changed. To have it done by the first renewal that "
        f"is safe, run: certbot-pinkeep rollover {name} --when-safe"
    )


def locked_in(
    name: str, decision: Decision, ledger: Ledger, now: datetime, new: bool = False
) -> str:
    """Said when a compromised key must not be handed over, and no backup is safe (G3).

    :param new: whether it is for a new certificate, where there is none to renew
    """
    best = decision.best
    if best is None:
        return (
            f"The key of the keyring {name} is compromised and is not handed over again, and there "
            "is no backup key that could be. To have one staged, run 'certbot install --installer "
            "pinkeep --cert-name' with the name of its certificate, and then: certbot-pinkeep "
            f"rollover {name} --now --force"
        )
    return (
        f"The key of the keyring {name} is compromised and is not handed over again, and no backup "
        f"is safe yet: {decision.safety.why}. {_when(decision.safety)} "
        f"{_until_then(name, best, new)} -- {announcement(best, ledger, now)}"
    )


def _until_then(name: str, best: Key, new: bool) -> str:
    which = f"the least bad backup, the key with the pin {best.pin}"
    if new:
        return (
            f"To have a certificate now all the same, with {which}, run: certbot-pinkeep rollover "
            f"{name} --force -- and ask for the certificate again"
        )
    return (
        f"The old certificate stays until then. To renew now all the same, with {which}, run: "
        f"certbot-pinkeep rollover {name} --now --force"
    )


def announcement(key: Key, ledger: Ledger, now: datetime) -> str:
    """Who is locked out, and until when, by switching to *key* at *now*."""
    told = [_victims(entry, now) for entry in victims(key, ledger, now)]
    if ledger.doubt or ledger.is_ahead_of(now):
        told.append(f"who else is locked out is unknown: {_unknown(ledger, now)}")
    elif ledger.blind_until is not None and ledger.blind_until > now:
        until = moments.text(ledger.blind_until)
        told.append(f"who holds pins from before the record was lost, which ends by {until}")
    if not told:
        return "It locks nobody out."
    return f"It locks out: {'; '.join(told)}."


def unpinning(name: str, unpin: bool, ledger: Ledger, now: datetime) -> str:
    """Said when a keyring leaves pinning, or stays pinned after all."""
    if not unpin:
        return f"The keyring {name} is pinned."
    if ledger.binds_nobody(now):
        return f"The keyring {name} is unpinned: no client holds its pins, no header is sent."
    if ledger.doubt or ledger.is_ahead_of(now):
        return (
            f"The keyring {name} sends max-age=0, so that clients forget its pins. Until when they "
            f"hold them is not known: {_unknown(ledger, now)}. Until then the key stays pinned, and "
            "is kept."
        )
    bound = [entry for entry in ledger.entries if entry.policy.binding]
    if any(entry.replaced is None for entry in bound):
        return (
            f"The keyring {name} is to be unpinned, but Apache may not send max-age=0 yet. Reload "
            f"it and run: certbot-pinkeep confirm {name}"
        )
    until = max([entry.binds_until(now) for entry in bound], default=now)
    until = max(until, ledger.blind_until or until)
    return (
        f"The keyring {name} sends max-age=0, so that clients forget its pins. Who does not come "
        f"back holds them until {moments.text(until)} at the latest; the first 'certbot renew' "
        "after that takes the header away. Until then the key stays pinned, and is kept."
    )


def victims(key: Key, ledger: Ledger, now: datetime) -> tuple[Entry, ...]:
    """The policies whose holders are locked out by switching to *key* at *now*."""
    return tuple(
        entry
        for entry in rollover.lacking(key.pin, ledger)
        if entry.replaced is None or entry.binds_until(now) > now
    )


def _victims(entry: Entry, now: datetime) -> str:
    until = moments.text(entry.binds_until(now))
    since = moments.text(entry.recorded)
    if entry.replaced is None:
        return f"who notes the pins that may be served since {since}, until {until} or later"
    ended = moments.text(entry.replaced)
    return f"who noted the pins served from {since} to {ended}, until {until}"


def _unknown(ledger: Ledger, now: datetime) -> str:
    return ledger.doubt or rollover.clock(ledger, now)


def _when(safety: Safety) -> str:
    if safety.since is not None:
        return f"It is safe from {moments.text(safety.since)}."
    return (
        "From when it is safe is not known yet: see that Apache has loaded the present pins "
        "('certbot renew' reloads it; where you reload it yourself, run 'certbot-pinkeep confirm')."
    )
