"""When switching to a key locks nobody out (G2, G8), and which key is next (G3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbot_pinkeep.core import membership, rollover
from certbot_pinkeep.core.keyring import Key, Keyring, Member
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.core.rollover import Decision, Safety
from simulated.values import (
    DAY,
    NOW,
    RSA,
    A,
    B,
    C,
    D,
    E,
    fake_pin,
    faulty,
    policy,
    policy_strategy,
    ring_key,
)

# Below, days are counted from now: -10 is ten days ago. KEY was made on day -400.
KEY = D
OLD = policy(A, B)  # without KEY, for 60 days
OLD_WEEK = policy(A, C, max_age=7 * 86400)  # without KEY, for a week
NEW = policy(A, D)  # with KEY, for 60 days
NEW_SHORT = policy(A, D, max_age=60)  # with KEY, for a minute
UNSAFE, UNKNOWN = False, None
SECOND = timedelta(seconds=1)


def day(number: int) -> datetime:
    """A day, counted from now."""
    return NOW + number * DAY


Story = tuple[tuple[int, Policy | Literal["reload"]], ...]


@dataclass(frozen=True)
class Case:
    """A history, and what follows from it for KEY now.

    :ivar story: what happened on which day; a policy is recorded, ``"reload"`` confirms it
    :ivar since: the day from which it is safe; ``None`` while unknown
    """

    name: str
    story: Story
    safe: bool
    since: int | None
    lost_until: int | None = None
    doubt: str = ""

    def ledger(self) -> Ledger:
        """The ledger after the story."""
        found = Ledger()
        if self.doubt or self.lost_until is not None:
            until = None if self.lost_until is None else day(self.lost_until)
            found = found.with_uncertainty(self.doubt or "it was lost", until)
        for number, what in self.story:
            if isinstance(what, Policy):
                found = found.record(what, day(number))
            else:
                found = found.confirm(day(number))
        return found


def loaded(number: int, what: Policy) -> Story:
    """A policy is recorded, and Apache is reloaded on the same day."""
    return (number, what), (number, "reload")


CASES = [
    Case("nothing was ever published", (), True, -400),
    Case("pinned from the start", loaded(-90, NEW), True, -400),
    Case("pinned from the start, Apache not yet reloaded", ((-1, NEW),), True, -400),
    Case("not pinned, and served today", loaded(-90, OLD), UNSAFE, UNKNOWN),
    Case("not pinned, and may be served", ((-90, OLD),), UNSAFE, UNKNOWN),
    Case(
        "pinned by a policy that Apache has not loaded yet",
        (*loaded(-90, OLD), (-80, NEW)),
        UNSAFE,
        UNKNOWN,
    ),
    Case("pinned ten days ago", (*loaded(-90, OLD), *loaded(-10, NEW)), UNSAFE, +50),
    Case(
        "pinned twenty days ago, Apache reloaded ten days later: that day counts",
        (*loaded(-90, OLD), (-20, NEW), (-10, "reload")),
        UNSAFE,
        +50,
    ),
    Case("the last client forgets just now", (*loaded(-90, OLD), *loaded(-60, NEW)), True, 0),
    Case("the last client forgets tomorrow", (*loaded(-90, OLD), *loaded(-59, NEW)), UNSAFE, +1),
    Case(
        "max-age is shorter today: the old one counts",
        (*loaded(-90, OLD), *loaded(-10, NEW_SHORT)),
        UNSAFE,
        +50,
    ),
    Case(
        "max-age is longer today: the old one counts",
        (*loaded(-90, OLD_WEEK), *loaded(-10, NEW)),
        True,
        -3,
    ),
    Case(
        "of two old policies the one that binds longer counts",
        (*loaded(-90, OLD), *loaded(-20, OLD_WEEK), *loaded(-10, NEW)),
        UNSAFE,
        +40,
    ),
    Case(
        "an old policy that was never confirmed may have been served until the reload",
        (*loaded(-90, NEW), (-30, OLD), (-20, NEW), (-5, "reload")),
        UNSAFE,
        +55,
    ),
    Case(
        "unpinned today, though pinned before",
        (*loaded(-90, NEW), *loaded(-1, OLD)),
        UNSAFE,
        UNKNOWN,
    ),
    Case(
        "it was dropped and listed again",
        (*loaded(-90, NEW), *loaded(-15, OLD), *loaded(-12, NEW)),
        UNSAFE,
        +48,
    ),
    Case(
        "a report-only policy without it binds nobody",
        loaded(-90, policy(A, B, report_only=True)),
        True,
        -400,
    ),
    Case("max-age=0 without it binds nobody", loaded(-90, policy(A, B, max_age=0)), True, -400),
    Case(
        "enforced once, report-only since ten days",
        (*loaded(-90, OLD), *loaded(-10, policy(A, B, report_only=True))),
        UNSAFE,
        +50,
    ),
    Case("g8: blind to what was served before", loaded(-1, NEW), UNSAFE, +59, +59),
    Case("g8: no longer blind", loaded(-90, NEW), True, -400, -30),
    Case("g8: blind until just now", loaded(-90, NEW), True, -400, 0),
    Case(
        "g8: blind, and a known policy binds longer",
        (*loaded(-90, OLD), *loaded(-10, NEW)),
        UNSAFE,
        +50,
        +20,
    ),
    Case("g8: in doubt", loaded(-90, NEW), UNSAFE, UNKNOWN, None, "it was lost"),
    Case("g8: in doubt of nothing known", (), UNSAFE, UNKNOWN, None, "it was lost"),
    Case("g8: the clock is behind a record", ((+1, NEW),), UNSAFE, UNKNOWN),
    Case("g8: the clock is behind a reload", ((-90, NEW), (+1, "reload")), UNSAFE, UNKNOWN),
    Case(
        "g8: the clock is behind an end",
        ((-90, OLD_WEEK), *loaded(-80, NEW), (+1, NEW_SHORT), (+2, "reload")),
        UNSAFE,
        UNKNOWN,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_g2_history_decides_when_a_key_is_safe(case: Case) -> None:
    """The table above: safe or not, and from which day on."""
    verdict = rollover.safety(ring_key(KEY), case.ledger(), NOW)
    since = None if case.since is None else day(case.since)
    assert (verdict.at(NOW), verdict.since) == (case.safe, since)
    assert bool(verdict.why) == (not case.safe)


def test_g8_latest_known_time_makes_an_earlier_clock_wrong() -> None:
    """Pinkeep ran tomorrow already, though nothing was recorded then."""
    verdict = rollover.safety(ring_key(KEY), Ledger().with_latest_known(NOW + SECOND), NOW)
    assert verdict.since is None and "2026-03-01T12:00:01Z was reached before" in verdict.why
    assert rollover.safety(ring_key(KEY), Ledger().with_latest_known(NOW), NOW).at(NOW)


def test_g8_key_from_the_future_is_not_safe() -> None:
    """A key that was made later than now: the clock is wrong."""
    verdict = rollover.safety(ring_key(KEY, created=NOW + DAY), Ledger(), NOW)
    assert not verdict.at(NOW) and verdict.since == NOW + DAY


def test_safety_begins_at_its_second() -> None:
    """It is not safe a second before."""
    verdict = Safety(NOW)
    assert verdict.at(NOW) and not verdict.at(NOW - SECOND)
    assert not Safety(None).at(NOW) and not Safety(NOW, "a reason").at(NOW)


def test_lacking_are_those_that_bind_without_the_pin() -> None:
    """In their order; what binds nobody is left out."""
    found = Ledger().record(OLD, day(-90)).record(policy(A, B, report_only=True), day(-80))
    found = found.record(policy(B, C, max_age=0), day(-70)).record(OLD_WEEK, day(-60))
    assert [one.pins for one in rollover.lacking(D, found)] == [OLD.pins, OLD_WEEK.pins]
    assert [one.pins for one in rollover.lacking(C, found)] == [OLD.pins]
    assert rollover.lacking(A, found) == ()


Event = tuple[Literal["record", "load", "confirm", "prune"], int, Policy]
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["record", "record", "load", "confirm", "confirm", "prune"]),
        st.integers(0, 40 * 86400),
        policy_strategy(pool=4).map(
            lambda p: Policy(p.pins, p.max_age % (90 * 86400), report_only=p.report_only)
        ),
    ),
    max_size=14,
)


@given(EVENTS, st.integers(0, 100 * 86400))
def test_g2_safe_key_is_accepted_by_every_client(events: list[Event], wait: int) -> None:
    """Clients visit all the time, and Apache loads what is recorded when it likes. If a key is called
    safe, every policy that a client still holds has its pin."""
    ledger, now = Ledger(), NOW
    served: Policy | None = None
    last_visit: dict[Policy, datetime] = {}
    for action, seconds, given_policy in events:
        now += timedelta(seconds=seconds)
        if served is not None:
            last_visit[served] = now
        if action == "record":
            ledger = ledger.record(given_policy, now)
        elif action == "prune":
            ledger = ledger.prune(now)
        elif ledger.current is not None:
            served = ledger.current.policy
            last_visit[served] = now
            if action == "confirm":
                ledger = ledger.confirm(now)
    now += timedelta(seconds=wait)
    if served is not None:
        last_visit[served] = now
    held = [p for p, visit in last_visit.items() if visit + p.binding > now]
    for pin in (fake_pin(n) for n in range(4)):
        verdict = rollover.safety(ring_key(pin), ledger, now)
        if verdict.at(now):
            assert all(pin in one.pins for one in ledger.binding(now))
            assert all(pin in one.pins for one in held)
        elif verdict.since is not None:
            assert verdict.since > now
            later = rollover.safety(ring_key(pin), ledger, verdict.since)
            assert later.at(verdict.since)


# The decision


def keyring(
    *backups: str | Key, days: int | None = None, primary: Key | None = None, served: str = A
) -> Keyring:
    """A keyring with primary A, in service for 100 days, and the given backups."""
    first = primary or ring_key(A, "primary", first_served=day(-100))
    keys = (first, *(ring_key(one) if isinstance(one, str) else one for one in backups))
    return Keyring("ring", (Member("example.com", ("example.com",), served),), keys, days)


def decided(ring: Keyring, ledger: Ledger, asked: bool = False, at: datetime = NOW) -> Decision:
    """The decision for its ECDSA key."""
    return rollover.decide(ring, ledger, at, "ecdsa", asked=asked)


def verdict(decision: Decision) -> tuple[str | None, str | None, str]:
    """The pin that is handed over, why a rollover is due, and what becomes of it."""
    assert not (decision.rolls_over and decision.held)
    what = "rolls over" if decision.rolls_over else "held" if decision.held else "stays"
    return (decision.key.pin if decision.key else None, decision.due, what)


EMPTY = Ledger()
WITHOUT_B = Ledger().record(policy(A, C), day(-90)).confirm(day(-90))
#: B is safe from day 50 on, C is safe.
LATER_B = WITHOUT_B.record(policy(A, B, C), day(-10)).confirm(day(-10))
#: Neither is safe, B from day 50 on, C from day 20 on.
LATER_BOTH = (
    Ledger()
    .record(policy(A, D), day(-90))
    .confirm(day(-90))
    .record(policy(A, C), day(-40))
    .confirm(day(-40))
    .record(policy(A, B, C), day(-10))
    .confirm(day(-10))
)


@pytest.mark.parametrize(
    ("days", "age", "due"),
    [
        (730, 730 * DAY, "age"),
        (730, 730 * DAY + SECOND, "age"),
        (730, 730 * DAY - SECOND, None),
        (0, timedelta(0), "age"),
        (0, -SECOND, None),
        (0, 9999 * DAY, "age"),
        (1, DAY, "age"),
        (1, DAY - SECOND, None),
        (None, 9999 * DAY, None),
        (730, None, None),
        (0, None, None),
    ],
)
def test_rollover_is_due_by_age_to_the_second(
    days: int | None, age: timedelta | None, due: str | None
) -> None:
    """Counted from first service; never means never, and an unknown age is not due (G8)."""
    first = None if age is None else NOW - age
    ring = keyring(B, days=days, primary=ring_key(A, "primary", first_served=first))
    expected = (B, "age", "rolls over") if due else (A, None, "stays")
    assert verdict(decided(ring, EMPTY)) == expected
    since = None if first is None or days is None else first + days * DAY
    assert rollover.next_due(ring, NOW, "ecdsa") == since


def test_g2_age_is_not_that_of_the_keys_file() -> None:
    """A key that was made years ago and went into service yesterday is a day old."""
    young = ring_key(A, "primary", created=day(-4000), first_served=day(-1))
    assert verdict(decided(keyring(B, days=730, primary=young), EMPTY)) == (A, None, "stays")


def with_forced(ring: Keyring, pin: str) -> Keyring:
    """The keyring with this backup chosen by the admin, who asked for a rollover."""
    return ring.mark_for_retirement().with_forced(pin)


DECISIONS: dict[str, tuple[Keyring, Ledger, tuple[str | None, str | None, str]]] = {
    "nothing is due": (keyring(B), EMPTY, (A, None, "stays")),
    "nothing is due, and nothing would be safe": (keyring(B), WITHOUT_B, (A, None, "stays")),
    "nothing is due, and there is no backup": (keyring(), EMPTY, (A, None, "stays")),
    "asked": (keyring(B).mark_for_retirement(), EMPTY, (B, "asked", "rolls over")),
    "asked, not safe": (keyring(B).mark_for_retirement(), LATER_B, (A, "asked", "held")),
    "asked, no backup": (keyring().mark_for_retirement(), EMPTY, (A, "asked", "held")),
    "revoked": (keyring(B).with_revoked(A), EMPTY, (B, "revoked", "rolls over")),
    "revoked, not safe": (keyring(B).with_revoked(A), LATER_B, (A, "revoked", "held")),
    "revoked, though it was asked as well": (
        keyring(B).mark_for_retirement().with_revoked(A),
        EMPTY,
        (B, "revoked", "rolls over"),
    ),
    "asked of a key that is due by age": (
        keyring(B, days=1).mark_for_retirement(),
        EMPTY,
        (B, "asked", "rolls over"),
    ),
    "due by age, not safe": (keyring(B, days=1), LATER_B, (A, "age", "held")),
    "a backup's certificate was revoked": (keyring(B).with_revoked(B), EMPTY, (A, None, "stays")),
    "compromised": (keyring(B).with_compromised(A), EMPTY, (B, "compromised", "rolls over")),
    "compromised, not safe": (
        keyring(B).with_compromised(A),
        LATER_B,
        (None, "compromised", "held"),
    ),
    "compromised, no backup": (
        keyring().with_compromised(A),
        EMPTY,
        (None, "compromised", "held"),
    ),
    "the first of two safe ones": (
        keyring(B, C).mark_for_retirement(),
        EMPTY,
        (B, "asked", "rolls over"),
    ),
    "the first one is not safe, the second is": (
        keyring(B, C).mark_for_retirement(),
        LATER_B,
        (C, "asked", "rolls over"),
    ),
    "neither is safe": (
        keyring(B, C).mark_for_retirement(),
        LATER_BOTH,
        (A, "asked", "held"),
    ),
    "forced, not safe": (
        with_forced(keyring(B), B),
        LATER_B,
        (B, "asked", "rolls over"),
    ),
    "forced, though another one is safe": (
        with_forced(keyring(B, C), B),
        LATER_B,
        (B, "asked", "rolls over"),
    ),
    "forced, but nothing is due any more": (
        keyring(B).with_forced(B),
        EMPTY,
        (A, None, "stays"),
    ),
    "compromised and forced": (
        with_forced(keyring(B).with_compromised(A), B),
        LATER_B,
        (B, "compromised", "rolls over"),
    ),
    "forced while in doubt": (
        with_forced(keyring(B), B),
        EMPTY.with_uncertainty("it was lost"),
        (B, "asked", "rolls over"),
    ),
    "the forced one was compromised since": (
        with_forced(keyring(B), B).with_compromised(B),
        EMPTY,
        (A, "asked", "held"),
    ),
    "g8: in doubt": (
        keyring(B).mark_for_retirement(),
        EMPTY.with_uncertainty("it was lost"),
        (A, "asked", "held"),
    ),
    "g8: blind": (
        keyring(B).mark_for_retirement(),
        Ledger().with_uncertainty("it was lost", NOW + SECOND),
        (A, "asked", "held"),
    ),
    "g8: blind until now": (
        keyring(B).mark_for_retirement(),
        Ledger().with_uncertainty("it was lost", NOW),
        (B, "asked", "rolls over"),
    ),
    "g8: the clock is behind": (
        keyring(B).mark_for_retirement(),
        Ledger().with_latest_known(NOW + SECOND),
        (A, "asked", "held"),
    ),
    "g8: compromised, and the clock is behind": (
        keyring(B).with_compromised(A),
        Ledger().with_latest_known(NOW + SECOND),
        (None, "compromised", "held"),
    ),
}


@pytest.mark.parametrize("name", DECISIONS)
def test_g2_g3_decision(name: str) -> None:
    """The table above: the key for the next certificate, why, and what becomes of it."""
    ring, ledger, expected = DECISIONS[name]
    assert verdict(decided(ring, ledger)) == expected


def test_rollover_can_be_asked_for_without_a_record() -> None:
    """``--new-key`` asks for this one renewal; what the keyring says is the stronger reason."""
    assert verdict(decided(keyring(B), EMPTY, asked=True)) == (B, "asked", "rolls over")
    assert verdict(decided(keyring(B), LATER_B, asked=True)) == (A, "asked", "held")
    assert verdict(decided(keyring(B).with_revoked(A), EMPTY, asked=True))[1] == "revoked"


def test_g2_held_rollover_tells_the_backup_that_is_safe_first() -> None:
    """Of two unsafe ones the one with the earlier time, and to the second."""
    decision = decided(keyring(B, C).mark_for_retirement(), LATER_BOTH)
    assert decision.best is not None and decision.best.pin == C
    assert decision.safety.since == day(20) and not decision.safety.at(NOW)
    ring = keyring(B, C).mark_for_retirement()
    assert verdict(decided(ring, LATER_BOTH, at=day(20) - SECOND)) == (A, "asked", "held")
    assert verdict(decided(ring, LATER_BOTH, at=day(20))) == (C, "asked", "rolls over")
    assert verdict(decided(ring, LATER_BOTH, at=day(50))) == (B, "asked", "rolls over")


def test_g2_known_time_is_better_than_an_unknown_one() -> None:
    """E is in no policy that is served: nobody knows when it will be safe, but B's time is known."""
    best, safety = rollover.best_backup(keyring(E, B), LATER_B, NOW, "ecdsa")
    assert best is not None and (best.pin, safety.since) == (B, day(50))
    best, safety = rollover.best_backup(keyring(E), LATER_B, NOW, "ecdsa")
    assert best is not None and (best.pin, safety.since) == (E, None)
    assert "may still be served" in safety.why


def test_no_backup_is_none() -> None:
    """There is nothing to roll over to; never a new key that nobody was told of."""
    best, safety = rollover.best_backup(keyring(), EMPTY, NOW, "ecdsa")
    assert (best, safety) == (None, Safety(None, "there is no backup key", "none"))
    other = keyring(ring_key(B, kind=RSA))
    assert rollover.best_backup(other, EMPTY, NOW, "ecdsa")[0] is None


def test_forced_backup_is_the_best_with_its_true_verdict() -> None:
    """That it is forced makes it no safer: who is locked out follows from the verdict."""
    best, safety = rollover.best_backup(with_forced(keyring(B, C), B), LATER_B, NOW, "ecdsa")
    assert best is not None and (best.pin, safety.since) == (B, day(50))
    assert not safety.at(NOW)


def test_each_key_type_is_decided_for_itself() -> None:
    """An RSA key that is due does not touch the ECDSA one."""
    ring = keyring(B, ring_key(D, "primary", RSA), ring_key(E, kind=RSA)).with_revoked(D)
    assert verdict(decided(ring, EMPTY)) == (A, None, "stays")
    assert verdict(rollover.decide(ring, EMPTY, NOW, "rsa")) == (E, "revoked", "rolls over")


def test_next_due_is_now_if_a_key_is_to_be_left() -> None:
    """Whatever its age is; without a primary as well."""
    ring = keyring(B, days=730)
    assert rollover.next_due(ring, NOW, "ecdsa") == day(630)
    assert rollover.next_due(ring.mark_for_retirement(), NOW, "ecdsa") == NOW
    assert rollover.next_due(ring.with_revoked(A), NOW, "ecdsa") == NOW
    assert rollover.next_due(ring.with_compromised(A), NOW, "ecdsa") == NOW
    assert rollover.next_due(keyring(B), NOW, "ecdsa") is None


# A rollover of the keyring


TYPES = Keyring(
    "ring",
    (Member("ec", ("pin.test",), A), Member("rsa", ("pin.test",), C)),
    (
        ring_key(A, "primary"),
        ring_key(B),
        ring_key(C, "primary", RSA),
        ring_key(D, kind=RSA),
        ring_key(E, kind=RSA),
    ),
)
SAFE_B = Ledger().record(policy(A, B, C), day(-5)).record(policy(A, B, C, D), day(-1))


def test_rollover_is_one_of_all_types_in_service() -> None:
    """It is safe when it is for the last one; one that is staged only does not count."""
    book = SAFE_B.confirm(day(-1))
    found = rollover.decide_all(TYPES, book, NOW)
    assert list(found) == ["rsa", "ecdsa"] and found["ecdsa"].safety.at(NOW)
    assert rollover.last(found) == found["rsa"].safety
    assert rollover.last(found).since == day(59)
    alone = membership.without_members(TYPES, ["rsa"])
    assert rollover.last(rollover.decide_all(alone, book, NOW)).at(NOW)


def test_rollover_that_is_unknown_for_one_type_is_unknown() -> None:
    """Even if the other one is known to be safe later; the reason is that of the unknown one."""
    found = rollover.decide_all(TYPES, SAFE_B, NOW)
    assert found["rsa"].safety.since is None and found["ecdsa"].safety.at(NOW)
    assert rollover.last(found).cause == "pending"


def test_rollover_waits_for_the_admin_rather_than_for_the_time() -> None:
    """One type needs a private key, the other one time: the first is told."""
    keys = tuple(replace(key, path=None) if key.pin == B else key for key in TYPES.keys)
    found = rollover.decide_all(replace(TYPES, keys=keys), SAFE_B.confirm(day(-1)), NOW)
    assert rollover.last(found).cause == "offline" and not rollover.last(found).at(NOW)


def test_lost_backup_is_not_rolled_over_to() -> None:
    """It is passed over; if there is no other, nothing is safe. A lost primary is no backup."""
    book = SAFE_B.confirm(day(-1)).prune(day(100))
    found = rollover.decide_all(faulty(TYPES, D, A), book, day(100))
    assert found["rsa"].best == TYPES.key(E) and found["ecdsa"].best == TYPES.key(B)
    assert found["ecdsa"].key == TYPES.key(A)
    assert rollover.last(rollover.decide_all(faulty(TYPES, B), book, day(100))).cause == "none"


def test_keyring_without_keys_cannot_roll_over() -> None:
    """There is nothing to decide."""
    assert not rollover.last(rollover.decide_all(Keyring("ring"), EMPTY, NOW)).at(NOW)
