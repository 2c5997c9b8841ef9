"""Releases: versions of apps, and zones, that carry the pins of today.

The rules:

* A release carries what is published when it is recorded, all of it: that is what ``export`` gives.
  One that is out already with other pins (the record was lost, or it is to bind for longer) is
  recorded with the pins that the admin names, whatever is published now.
* It pins the names of the certificates that draw on the keyring then, and those that it had before.
* What is published has to be served: while Apache may still serve a key that is not among the pins,
  nothing is to carry them.
* Nothing is to carry pins of a compromised key, or of a keyring that leaves pinning.
* It binds until its date, then for its TTL (see ``ledger``); ending it early is the admin's word
  that nobody has it any more, but for the TTL.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, time, timedelta, timezone

from certbot_pinkeep import moments, pins, wishes
from certbot_pinkeep.errors import BadRelease, DamagedState
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
    ttl: timedelta | None,
    now: datetime,
    named: tuple[str, ...] = (),
) -> Release:
    """Record a release that carries the pins of today; one that is known gets a new date.

    :param ttl: for how long it is held after its end; ``None``: as known, else not at all
    :param named: the pins that it carries, where those are not the ones of today
    :raises BadRelease: when there is nothing to carry, or it is known with other pins
    """
    for option, value in (("--channel", channel), ("--label", label)):
        _check_word(option, value)
    with wishes.loaded(keeper, name, now) as state:
        carried = _named(state, named) if named else _carried(state)
        hosts = keeper.hosts_now(state.keyring)
        if not hosts:
            raise BadRelease(
                f"No certificate draws on the keyring {name} any more, so there is no name that a "
                "release could pin. Nothing was changed. Where its certificates moved, give the name of "
                "the keyring that they draw on now."
            )
        known = state.ledger.release(channel, label)
        held = ttl if ttl is not None else known.ttl if known else timedelta(0)
        subdomains = any(one.subdomains for one in state.ledger.entries[-1:])
        release = Release(channel, label, carried, hosts, now, end, held, subdomains)
        ledger = state.ledger.with_release(release)
        keeper.store.save(replace(state, ledger=ledger))
    found = ledger.release(channel, label)
    assert found is not None
    return found


def elsewhere(keeper: Keeper, name: str, release: Release) -> list[str]:
    """The other keyrings that have a release of this name on record, as a lineage that moved brought
    it there: each is told of a new date on its own."""
    found = []
    for other in keeper.store.names():
        with suppress(DamagedState):
            state = None if other == name else keeper.store.load(other)
            if state and state.ledger.release(release.channel, release.label):
                found.append(other)
    return found


def _named(state: State, named: tuple[str, ...]) -> tuple[str, ...]:
    """The pins that the admin says it carries.

    :raises BadRelease: when one is none, or none is the keyring's
    """
    for pin in named:
        if not pins.is_pin(pin):
            raise BadRelease(
                f"--pin {pin!r}: that is not the base64 of a SHA-256 digest. Nothing was changed."
            )
    if not any(state.keyring.key(pin) for pin in named):
        raise BadRelease(
            f"--pin {named[0]!r}: none of these pins is that of a key of the keyring "
            f"{state.keyring.name}. Nothing was changed. Its pins: certbot-pinkeep status "
            f"{state.keyring.name} --json"
        )
    return tuple(dict.fromkeys(named))


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
