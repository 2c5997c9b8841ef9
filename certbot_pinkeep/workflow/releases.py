"""Releases: versions of apps, and zones, that carry the pins of today.

The rules:

* A release carries what is published when it is recorded, all of it: that is what ``export`` gives. A release
  may be out already with other pins. Such a release is recorded with the pins that the admin names, whatever
  is published now.
* A release pins the names of the certificates that draw on the keyring then, and those that it had before.
* What is published has to be served: while Apache may still serve a key that is not among the pins,
  nothing is to carry them.
* Nothing is to carry pins of a compromised key, or of a keyring that leaves pinning.
* It binds until its date, then for its TTL (see ``ledger``); ending it early is the admin's word
  that nobody has it any more, but for the TTL.
* A later date, and the end, count in every keyring that a lineage which moved brought it to.
* A release is on record as it is, also if its pins lack the served key after a forced rollover: then whom
  that locks out, until when, is said (G2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone

from certbot_pinkeep.core import explain_hosts, pins, times
from certbot_pinkeep.core.errors import BadRelease
from certbot_pinkeep.core.holdings import Release
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.state import State
from certbot_pinkeep.workflow import requests
from certbot_pinkeep.workflow.workspace import Workspace

#: The longest time for which a release may bind, in days: ten years.
LONGEST = 3653


def until(written: str, now: datetime) -> datetime:
    """Return the end of a release as the admin writes it: a date, which counts to its end, or a time.

    :param written: e.g. ``2027-11-24`` or ``2027-11-24T12:00:00Z``
    :raises BadRelease: if it is neither, in the past, or beyond ten years
    """
    try:
        time = _time(written)
    except ValueError:
        raise BadRelease(
            f"--until {written!r}:",
            "Write the last day as 2027-11-24, or a time in UTC as 2027-11-24T12:00:00Z.",
        ) from None
    if time <= now:
        raise BadRelease(f"--until {written!r}: that is over.")
    if time - now > timedelta(days=LONGEST):
        raise BadRelease(f"--until {written!r}: no key can be promised for more than ten years.")
    return time


def _time(written: str) -> datetime:
    if "T" in written:
        return times.parse(written)
    if not written.isascii():
        raise ValueError(written)  # other scripts have digits as well
    day = datetime.strptime(written, "%Y-%m-%d").replace(tzinfo=timezone.utc)
    return day + timedelta(days=1) if day.date() < date.max else day


@dataclass(frozen=True)
class ReleaseRequest:
    """A release as the admin names it.

    :ivar keyring: the keyring whose pins it carries
    :ivar until: until when it is used; ``None``: that does not matter
    :ivar ttl: for how long it is held after its end; ``None``: as known, else not at all
    :ivar pins: the pins that it carries, if those are not the ones of today
    """

    keyring: str
    channel: str
    label: str
    until: datetime | None = None
    ttl: timedelta | None = None
    pins: tuple[str, ...] = ()

    @property
    def end(self) -> datetime:
        """Until when it is used."""
        assert self.until is not None, "a release has an end"
        return self.until

    def known(self, ledger: Ledger) -> tuple[Release, ...]:
        """Return the releases of this name.

        :raises BadRelease: if there is none
        """
        found = ledger.named(self.channel, self.label)
        if not found:
            known = ", ".join(f"{one.channel} {one.label}" for one in ledger.releases)
            raise BadRelease(
                f"The keyring {self.keyring} has no release {self.channel} {self.label}.",
                f"Releases on record: {known or 'none'}.",
            )
        return found


def add(workspace: Workspace, wanted: ReleaseRequest, now: datetime) -> Release:
    """Record a release that carries the pins of today; one that is known gets a later date.

    :raises BadRelease: if there is nothing to carry, or it is known with other pins
    """
    for option, value in (("--channel", wanted.channel), ("--label", wanted.label)):
        _check_word(option, value)
    name, channel, label = wanted.keyring, wanted.channel, wanted.label
    with requests.loaded(workspace, name, now) as state:
        ledger = state.ledger.prune(now)
        carried = _named(state, wanted.pins) if wanted.pins else _carried(workspace, state)
        hosts = workspace.hosts(state.keyring)
        if not hosts:
            raise BadRelease(
                f"No certificate draws on the keyring {name} any more, so a release has no name to pin.",
                "If its certificates have moved, name the keyring that they draw on now.",
            )
        known = ledger.named(channel, label)
        held = known[0].ttl if known else timedelta(0)
        held = held if wanted.ttl is None else wanted.ttl
        subdomains = any(one.subdomains for one in ledger.entries[-1:])
        release = Release(channel, label, carried, hosts, now, wanted.end, held, subdomains)
        state = replace(state, ledger=ledger.with_release(release))
        _save_all(workspace, state, (release,), now, _extended(wanted.end, held))
    return next(one for one in state.ledger.releases if one.is_the_same_as(release))


def extend(workspace: Workspace, wanted: ReleaseRequest, now: datetime) -> tuple[Release, ...]:
    """Record that a release is carried for longer, with the pins that it has.

    :returns: all of this name
    :raises BadRelease: if there is none of this name, or it binds for longer already
    """
    end, ttl = wanted.end, wanted.ttl
    with requests.loaded(workspace, wanted.keyring, now) as state:
        ledger = state.ledger.prune(now)
        known = wanted.known(ledger)
        for release in known:
            ledger = ledger.extended(release, end, release.ttl if ttl is None else ttl)
        _save_all(workspace, replace(state, ledger=ledger), known, now, _extended(end, ttl))
    return wanted.known(ledger)


def end(workspace: Workspace, wanted: ReleaseRequest, now: datetime) -> tuple[Release, ...]:
    """Record that nobody has a release any more, but for its TTL.

    :returns: all of this name
    :raises BadRelease: if there is none of this name
    """
    with requests.loaded(workspace, wanted.keyring, now) as state:
        ledger = state.ledger
        known = wanted.known(ledger)
        for release in known:
            ledger = ledger.ended(release, now)
        state = replace(state, ledger=ledger.prune(now))
        _save_all(workspace, state, known, now, lambda other, release: other.ended(release, now))
    return ledger.named(wanted.channel, wanted.label)


def refused(workspace: Workspace, name: str, release: Release) -> dict[str, tuple[str, ...]]:
    """Return the keys that lock out whoever relies on a release: those in service, and those that a
    rollover is forced to.

    :returns: the pins, and which lineages serve each of them; none: it is forced, and not served yet
    """
    found: dict[str, list[str]] = {}
    for state in workspace.trusted():
        if state.keyring.name != name and not any(
            one.is_the_same_as(release) for one in state.ledger.releases
        ):
            continue
        live, gone = workspace.live_pins(state.keyring), workspace.deleted(state.keyring)
        for member in state.keyring.drawing:
            if member.lineage in gone or not release.binds_at(member.hosts):
                continue
            # Also the one on record: Apache may not have loaded a later one yet.
            for pin in dict.fromkeys((live.get(member.lineage, member.pin), member.pin)):
                if pin not in release.pins:
                    found.setdefault(pin, []).append(member.lineage)
        for key in state.keyring.keys:
            if key.forced and key.pin not in release.pins:
                found.setdefault(key.pin, [])
    return {pin: tuple(lineages) for pin, lineages in found.items()}


_Change = Callable[[Ledger, Release], Ledger]


def _extended(end: datetime, ttl: timedelta | None) -> _Change:
    def change(ledger: Ledger, release: Release) -> Ledger:
        held = release.ttl if ttl is None else ttl
        if end + held < release.until + release.ttl:
            return ledger  # it binds for longer there
        return ledger.extended(release, end, held)

    return change


def _save_all(
    workspace: Workspace,
    state: State,
    releases: tuple[Release, ...],
    now: datetime,
    change: _Change,
) -> None:
    """Save the keyring, and change the releases if a lineage that moved brought them along.

    :raises DamagedState: if a keyring file cannot be trusted that may have them
    """
    own, store = state.keyring.name, workspace.store
    changed = []
    for name in store.names():
        other = None if name == own else store.load(name)
        if other is None:
            continue
        book = other.ledger
        for one in other.ledger.releases:
            if any(one.is_the_same_as(release) for release in releases):
                book = change(book, one)
        if book != other.ledger:
            changed.append(replace(other, ledger=book.prune(now)))
    # Its own file last: what was killed before is seen as not done, and can be done again.
    for one_state in (*changed, state):
        store.save(one_state)


def _named(state: State, named: tuple[str, ...]) -> tuple[str, ...]:
    """Return the pins that the admin says it carries."""
    for pin in named:
        if not pins.is_pin(pin):
            raise BadRelease(f"--pin {pin!r}: that is not the base64 of a SHA-256 digest.")
    if not any(state.keyring.key(pin) for pin in named):
        raise BadRelease(
            f"--pin {named[0]!r}: none of these pins belongs to a key of the keyring "
            f"{state.keyring.name}.",
            "See which pins it has.",
            run=f"certbot-pinkeep status {state.keyring.name} --json",
        )
    return tuple(dict.fromkeys(named))


def _check_word(option: str, value: str) -> None:
    if not value.strip() or not value.isprintable() or len(value) > 100:
        raise BadRelease(
            f"{option} {value!r}:", "Give a short name, for example --channel ios --label 3.2."
        )


def _carried(workspace: Workspace, state: State) -> tuple[str, ...]:
    """Return the pins that are published."""
    name, current = state.keyring.name, state.ledger.current
    if state.unpin:
        raise BadRelease(
            f"The keyring {name} leaves pinning, so nothing is to carry its pins.",
            "To stay pinned, take that back.",
            run=f"certbot-pinkeep unpin {name} --undo",
        )
    if current is None:
        raise BadRelease(f"The keyring {name} publishes no pins yet.", run="certbot renew")
    if state.ledger.pending:
        raise BadRelease(
            f"pinkeep published the pins of the keyring {name} at {times.text(current.recorded)}. The web "
            "server may not have loaded them, and may serve a key that is not among them.",
            "'certbot renew' reloads the web server. If you reload the web server yourself, confirm that. "
            "Then export the pins again, and add the release.",
            run=f"certbot-pinkeep confirm {name}",
        )
    for lineage, pin in workspace.live_pins(state.keyring).items():
        if pin not in current.pins:
            raise BadRelease(
                f"The key of {lineage} (pin {pin}) is not among the pins of the keyring {name}. An app that "
                "carries these pins would refuse it.",
                "Go back to the pinned key first.",
                run=explain_hosts.renewal(lineage),
            )
    for pin in current.pins:
        key = state.keyring.key(pin)
        if key is not None and key.role == "compromised":
            raise BadRelease(
                f"The keyring {name} still pins a compromised key ({pin}), which no release may carry.",
                "'certbot renew' takes the key out of the pins after nothing serves it any more. That "
                "command says which certificates still use the key.",
            )
    return current.pins
