"""Releases: versions of apps, and zones, that carry the pins of today.

The rules:

* A release carries what is published when it is recorded, all of it: that is what ``export`` gives.
* What is published has to be served: while Apache may still serve a key that is not among the pins,
  nothing is to carry them.
* Nothing is to carry pins of a compromised key, or of a keyring that leaves pinning.
* It binds until its date, then for its TTL (see ``ledger``); ending it early is the admin's word
  that nobody has it any more, but for the TTL.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, time, timedelta, timezone

from certbot_pinkeep import moments, wishes
from certbot_pinkeep.errors import BadRelease
from certbot_pinkeep.keeper import Keeper
from certbot_pinkeep.ledger import Release
from certbot_pinkeep.store import State

#: The longest time for which a release may bind, in days: ten years.
LONGEST = 3653


def until(written: str, now: datetime) -> datetime:
    """The end of a release as the admin writes it: a date, which counts to its end, or a moment.

    :param written: e.g. ``2027-11-24`` or ``2027-11-24T12:00:00Z``
    :raises BadRelease: when it is neither, in the past, or beyond ten years
    """
    try:
        moment = _moment(written)
    except ValueError:
        raise BadRelease(
            f"--until {written!r}: write the last day as 2027-11-24, or a moment in UTC as "
            "2027-11-24T12:00:00Z. Nothing was changed."
        ) from None
    if moment <= now:
        raise BadRelease(f"--until {written!r}: that is over. Nothing was changed.")
    if moment - now > timedelta(days=LONGEST):
        raise BadRelease(
            f"--until {written!r}: no key can be promised for more than ten years. Nothing was changed."
        )
    return moment


def _moment(written: str) -> datetime:
    if "T" in written:
        return moments.parse(written)
    day = date.fromisoformat(written) + timedelta(days=1)
    return datetime.combine(day, time(), timezone.utc)


def add(
    keeper: Keeper,
    name: str,
    channel: str,
    label: str,
    end: datetime,
    ttl: timedelta,
    now: datetime,
) -> Release:
    """Record a release that carries the pins of today; one that is known gets a new date.

    :param ttl: for how long it is held after its end
    :raises BadRelease: when there is nothing to carry, or it is known with other pins
    """
    for option, value in (("--channel", channel), ("--label", label)):
        _check_word(option, value)
    with wishes.loaded(keeper, name, now) as state:
        pins, hosts = _carried(state), state.keyring.hosts
        subdomains = any(one.subdomains for one in state.ledger.entries[-1:])
        release = Release(channel, label, pins, hosts, now, end, ttl, subdomains)
        ledger = state.ledger.with_release(release)
        keeper.store.save(replace(state, ledger=ledger))
    found = ledger.release(channel, label)
    assert found is not None
    return found


def end(keeper: Keeper, name: str, channel: str, label: str, now: datetime) -> Release:
    """Record that nobody has a release any more, but for its TTL.

    :raises BadRelease: when there is none of this name
    """
    with wishes.loaded(keeper, name, now) as state:
        release = state.ledger.release(channel, label)
        if release is None:
            known = ", ".join(f"{one.channel} {one.label}" for one in state.ledger.releases)
            raise BadRelease(
                f"The keyring {name} has no release {channel} {label}. Releases on record: "
                f"{known or 'none'}."
            )
        ledger = state.ledger.ended(release, now)
        keeper.store.save(replace(state, ledger=ledger.prune(now)))
    return replace(release, until=min(release.until, now))


def _check_word(option: str, value: str) -> None:
    if not value.strip() or not value.isprintable() or len(value) > 100:
        raise BadRelease(
            f"{option} {value!r}: give it a short name, e.g. --channel ios --label 3.2. Nothing was "
            "changed."
        )


def _carried(state: State) -> tuple[str, ...]:
    """The pins that are published."""
    name, current = state.keyring.name, state.ledger.current
    if state.unpin:
        raise BadRelease(
            f"The keyring {name} leaves pinning, so nothing is to carry its pins. Where it is to stay, "
            f"run: certbot-pinkeep unpin {name} --undo"
        )
    if current is None:
        raise BadRelease(f"The keyring {name} publishes no pins yet. Run: certbot renew")
    if state.ledger.pending:
        raise BadRelease(
            f"Apache is not known to have loaded the pins of the keyring {name} that were published at "
            f"{moments.text(current.recorded)}, and may serve a key that is not among them. Nothing was "
            "changed. See that it has loaded them ('certbot renew' reloads it; where you reload it "
            f"yourself, run: certbot-pinkeep confirm {name}), export again, and add the release then."
        )
    for pin in current.pins:
        key = state.keyring.key(pin)
        if key is not None and key.role == "compromised":
            raise BadRelease(
                f"The keyring {name} still pins a compromised key ({pin}), which no release is to "
                f"carry. Leave it first: certbot-pinkeep rollover {name} --now"
            )
    return current.pins
