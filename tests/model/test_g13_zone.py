"""G2, G13: thousands of histories of a zone and of ports, in none of which anybody is locked out.

Beside them, the tests of the test: each rule left out, or put as others have it. Histories of fixed
seeds find each of them within seconds, and hold with the rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

import pytest
from zone_histories import KINDS, History, history, play, shorter
from zone_world import LeftOut, ZoneWorld

from certbot_pinkeep.core import rollover, zone
from certbot_pinkeep.core.holdings import SETTLING, ZoneEntry
from certbot_pinkeep.core.keyring import Key, Keyring
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.rollover import Safety
from certbot_pinkeep.core.tlsa import Port, record_of
from certbot_pinkeep.core.zone import Service, Wanted
from certbot_pinkeep.core.zone_observations import OwnerObservation, Records
from simulated.visitors import LockedOut

#: How many histories of each kind are tried by each test.
PARTS = 4
#: How many of those that lack a rule are tried at most, until one fails.
ENOUGH = 4000

_with_looked, _wanted, _safety = zone.with_looked, zone.wanted, rollover.safety


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", KINDS)
def test_g2_g13_no_history_of_a_zone_locks_anybody_out(
    histories: int, seed: int, kind: str, part: int
) -> None:
    """Every client that holds records accepts the key that a port serves; and in the end a rollover comes."""
    for number in range(part, max(histories // 2, 8), PARTS):
        told = history(kind, number + seed * 10**6)
        try:
            play(told)
        except (LockedOut, LeftOut) as error:
            short = shorter(told, _fails_as(type(error)))
            pytest.fail(f"{error}\n{short}")


def _fails_as(kind: type[AssertionError]) -> Callable[[History], bool]:
    def fails(told: History) -> bool:
        try:
            play(told)
        except AssertionError as error:
            return type(error) is kind
        return False

    return fails


def test_g2_g13_histories_are_about_rollovers() -> None:
    """If none came, none could lock anybody out: many calm histories have one, and one that is held."""
    made = [play(history("calm", number), heals=False) for number in range(100)]
    assert sum(one.rolled_over > 0 for one in made) >= 40
    assert sum(one.refused > 0 for one in made) >= 40


# What is broken


def one_look(ledger: Ledger, look: OwnerObservation, ttl: timedelta, at: datetime) -> Ledger:
    """Ask each name server once, whichever of its processes answers."""
    answers = {one.server: one for one in reversed(look.answers)}
    return _with_looked(ledger, replace(look, answers=tuple(answers.values())), ttl, at)


def one_server(ledger: Ledger, look: OwnerObservation, ttl: timedelta, at: datetime) -> Ledger:
    """Ask one name server."""
    answers = tuple(one for one in look.answers if one.server == look.servers[0])
    return _with_looked(ledger, replace(look, servers=look.servers[:1], answers=answers), ttl, at)


def without_ttl(ledger: Ledger, look: OwnerObservation, ttl: timedelta, at: datetime) -> Ledger:
    """Take every TTL for the one that pinkeep writes with."""
    seconds = int(ttl.total_seconds())
    answers = tuple(replace(one, ttl=seconds) for one in look.answers)
    return _with_looked(ledger, replace(look, answers=answers), ttl, at)


def despite_errors(ledger: Ledger, look: OwnerObservation, ttl: timedelta, at: datetime) -> Ledger:
    """Take what could not be asked for gone."""
    servers = tuple(one for one in look.servers if not one.error) or look.servers
    return _with_looked(ledger, replace(look, servers=servers), ttl, at)


def despite_the_clock(
    ledger: Ledger, look: OwnerObservation, ttl: timedelta, at: datetime
) -> Ledger:
    """Date what ends by a clock that was set back."""
    return _with_looked(ledger, look, ttl, ledger.not_before(at))


def one_port(
    keyring: Keyring,
    services: Sequence[Service],
    listed: Sequence[Port],
    at: datetime,
    *,
    leaves: bool = False,
) -> Wanted:
    """Ask one port what it serves."""
    want = _wanted(keyring, services[:1], listed[:1], at, leaves=leaves)
    return replace(want, seen=frozenset(listed))


def at_once(
    keyring: Keyring,
    services: Sequence[Service],
    listed: Sequence[Port],
    at: datetime,
    *,
    leaves: bool = False,
) -> Wanted:
    """Take the old key's records away as soon as there is a new one."""
    want = _wanted(keyring, services, listed, at, leaves=leaves)
    pins = () if leaves or not listed else keyring.published_pins()
    return replace(want, pins=pins, removes=True)


def at_any_port(before: Records, want: Wanted, service: Service | None) -> tuple[Records, str]:
    """Write records for a port, whatever it serves."""
    return (before | want.records) - want.left, ""


def whoever_else(before: Records, want: Wanted, service: Service | None) -> tuple[Records, str]:
    """Take our records away if pinning is left, whatever else is there."""
    if service is None or not want.pins:
        return before - frozenset(map(record_of, want.known)), ""
    return _records_after(before, want, service)


def seen_long_ago(before: Records, want: Wanted, service: Service | None) -> tuple[Records, str]:
    """Believe what a port was once seen to serve."""
    ever = frozenset([service.port]) if service is not None and service.seen else frozenset()
    return _records_after(before, replace(want, seen=want.seen | ever), service)


_records_after = zone.records_after


def whatever_is_there(*_: object) -> tuple[()]:
    """Write over records that nobody saw."""
    return ()


def nothing_unseen(ledger: Ledger, *_: object) -> Ledger:
    """Forget that records could not be seen."""
    return ledger


def safe_at_once(key: Key, ledger: Ledger, now: datetime, hosts: object = None) -> Safety:
    """Take every key for safe."""
    return Safety(key.created)


def never(key: Key, ledger: Ledger, now: datetime, hosts: object = None) -> Safety:
    """Take none for safe."""
    return Safety(None, "it is not safe")


# What others do


def seen_once(key: Key, ledger: Ledger, now: datetime, hosts: object = None) -> Safety:
    """Wait for two days after a key was first seen at each port, on any name server: danebot's rule."""
    first: dict[Port, datetime] = {}
    for one in ledger.zone:
        if one.confirmed and key.pin in one.pins:
            first[one.port] = min(one.confirmed, first.get(one.port, one.confirmed))
    if not first or not {one.port for one in ledger.zone if not one.replaced} <= set(first):
        return Safety(None, "it was not seen")
    since = max(first.values()) + timedelta(days=2)
    return Safety(since, "" if since <= now else "it is too young")


def the_live_key(
    keyring: Keyring,
    services: Sequence[Service],
    listed: Sequence[Port],
    at: datetime,
    *,
    leaves: bool = False,
) -> Wanted:
    """Pin what the certificate has, and nothing else: certbot's ``--reuse-key``, then ``--new-key``."""
    want = at_once(keyring, services, listed, at, leaves=leaves)
    return replace(want, pins=tuple(key.pin for key in keyring.in_service()))


#: What is put in the place of ``rollover.safety`` and ``zone.wanted``.
OTHERS = {
    "pinkeep": (rollover.safety, zone.wanted),
    "danebot": (seen_once, at_once),
    "--new-key": (safe_at_once, the_live_key),
}


def locked_out(name: str, kind: str, many: int, patch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Of so many histories of a kind, those with a rollover, and those with a lockout."""
    rolled = out = 0
    with patch.context() as both:
        for where, what, instead in zip(
            (rollover, zone), ("safety", "wanted"), OTHERS[name], strict=True
        ):
            both.setattr(where, what, instead)
        for number in range(many):
            try:
                rolled += play(history(kind, number), heals=False).rolled_over > 0
            except LockedOut:
                out += 1
    return rolled, out


def test_g2_g13_other_rules_lock_people_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the same histories, in which an admin changes records by hand."""
    found = {name: locked_out(name, "hands", 100, monkeypatch) for name in OTHERS}
    assert found["pinkeep"][0] >= 40 and found["pinkeep"][1] == 0
    assert found["danebot"][1] >= 5 and found["--new-key"][1] >= 20, found


class Broken(NamedTuple):
    """A rule that is broken.

    :ivar where: what has the rule, by the name ``name``
    :ivar broken: what is there instead
    :ivar kind: the histories that find it
    :ivar found: how they fail
    :ivar number: the first one that is tried
    """

    where: object
    name: str
    broken: object
    kind: str
    found: type[AssertionError] = LockedOut
    number: int = 0


RULES = {
    "every key is safe": Broken(rollover, "safety", safe_at_once, "calm"),
    "one look": Broken(zone, "with_looked", one_look, "processes"),
    "one server": Broken(zone, "with_looked", one_server, "processes"),
    "TTL forgotten": Broken(zone, "with_looked", without_ttl, "hands"),
    "one TTL": Broken(ZoneEntry, "binding", property(lambda one: one.ttl + SETTLING), "calm"),
    "no settling": Broken(ZoneEntry, "binding", property(lambda one: 2 * one.ttl), "servers"),
    "failed looks forgotten": Broken(zone, "with_looked", despite_errors, "silent"),
    "placeholder forgotten": Broken(zone, "with_unseen", nothing_unseen, "silent"),
    "written over unseen": Broken(zone, "unseen", whatever_is_there, "silent", number=340),
    "clock set back": Broken(zone, "with_looked", despite_the_clock, "set back", number=150),
    "port forgotten": Broken(zone, "wanted", one_port, "late"),
    "removes at once": Broken(zone, "wanted", at_once, "late"),
    "first records anywhere": Broken(zone, "records_after", at_any_port, "late"),
    "first records on an old look": Broken(zone, "records_after", seen_long_ago, "unseen ports"),
    "leaves others alone": Broken(zone, "records_after", whoever_else, "everything"),
    "recorded after": Broken(ZoneWorld, "records_first", False, "killed"),
    "a look of yesterday": Broken(ZoneWorld, "looks_afresh", False, "hands"),
    "too much caution": Broken(rollover, "safety", never, "calm", LeftOut),
}


@pytest.mark.parametrize("rule", RULES)
def test_g2_g13_a_broken_rule_of_a_zone_is_found(
    rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A history fails without the rule, and holds with it."""
    broken = RULES[rule]
    with monkeypatch.context() as patch:
        patch.setattr(broken.where, broken.name, broken.broken)
        found = next(filter(_fails_as(broken.found), _tried(broken)), None)
        assert found is not None, "no history finds it"
    play(found)


def _tried(broken: Broken) -> Iterable[History]:
    numbers = range(broken.number, broken.number + ENOUGH)
    return (history(broken.kind, number) for number in numbers)
