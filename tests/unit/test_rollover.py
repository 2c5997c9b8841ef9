"""When switching to a key is safe (G2), and which key is next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import pytest
from helpers import DAY, NOW, RSA, A, B, C, D, fake_pin, policy, policy_strategy, ring_key
from hypothesis import given
from hypothesis import strategies as st

from certbot_pinkeep import rollover
from certbot_pinkeep.errors import NotSafe
from certbot_pinkeep.keyring import Keyring, Member
from certbot_pinkeep.ledger import Ledger
from certbot_pinkeep.policy import Policy
from certbot_pinkeep.rollover import Safety

# Below, days are counted from now: -10 is ten days ago. KEY was made on day -400.
KEY = D
OLD = policy(A, B)  # without KEY, for 60 days
OLD_WEEK = policy(A, C, max_age=7 * 86400)  # without KEY, for a week
NEW = policy(A, D)  # with KEY, for 60 days
NEW_SHORT = policy(A, D, max_age=60)  # with KEY, for a minute
UNSAFE, UNKNOWN = False, None


def day(number: int) -> datetime:
    """A day, counted from now."""
    return NOW + number * DAY


@dataclass(frozen=True)
class Case:
    """A history, and what follows from it for KEY now.

    :ivar story: what happened on which day; a policy is recorded, ``"reload"`` confirms it
    :ivar since: the day from which it is safe; ``None`` while unknown
    """

    name: str
    story: tuple[tuple[int, Policy | Literal["reload"]], ...]
    safe: bool
    since: int | None
    blind_until: int | None = None

    def ledger(self) -> Ledger:
        """The ledger after the story."""
        blind = None if self.blind_until is None else day(self.blind_until)
        found = Ledger(blind_until=blind)
        for number, what in self.story:
            if isinstance(what, Policy):
                found = found.record(what, day(number))
            else:
                found = found.confirm(day(number))
        return found


CASES = [
    Case("nothing was ever published", (), True, -400),
    Case("pinned from the start", ((-90, NEW), (-90, "reload")), True, -400),
    Case("pinned from the start, Apache not yet reloaded", ((-1, NEW),), True, -400),
    Case("not pinned, and served today", ((-90, OLD), (-90, "reload")), UNSAFE, UNKNOWN),
    Case("not pinned, and may be served", ((-90, OLD),), UNSAFE, UNKNOWN),
    Case(
        "pinned by a policy that Apache has not loaded yet",
        ((-90, OLD), (-90, "reload"), (-80, NEW)),
        UNSAFE,
        UNKNOWN,
    ),
    Case(
        "pinned ten days ago",
        ((-90, OLD), (-90, "reload"), (-10, NEW), (-10, "reload")),
        UNSAFE,
        +50,
    ),
    Case(
        "pinned twenty days ago, Apache reloaded ten days later: that day counts",
        ((-90, OLD), (-90, "reload"), (-20, NEW), (-10, "reload")),
        UNSAFE,
        +50,
    ),
    Case(
        "the last client forgets just now",
        ((-90, OLD), (-90, "reload"), (-60, NEW), (-60, "reload")),
        True,
        0,
    ),
    Case(
        "the last client forgets tomorrow",
        ((-90, OLD), (-90, "reload"), (-59, NEW), (-59, "reload")),
        UNSAFE,
        +1,
    ),
    Case(
        "max-age is shorter today: the old one counts",
        ((-90, OLD), (-90, "reload"), (-10, NEW_SHORT), (-10, "reload")),
        UNSAFE,
        +50,
    ),
    Case(
        "max-age is longer today: the old one counts",
        ((-90, OLD_WEEK), (-90, "reload"), (-10, NEW), (-10, "reload")),
        True,
        -3,
    ),
    Case(
        "of two old policies the one that binds longer counts",
        (
            (-90, OLD),
            (-90, "reload"),
            (-20, OLD_WEEK),
            (-20, "reload"),
            (-10, NEW),
            (-10, "reload"),
        ),
        UNSAFE,
        +40,
    ),
    Case(
        "an old policy that was never confirmed may have been served until the reload",
        ((-90, NEW), (-90, "reload"), (-30, OLD), (-20, NEW), (-5, "reload")),
        UNSAFE,
        +55,
    ),
    Case(
        "unpinned today, though pinned before",
        ((-90, NEW), (-90, "reload"), (-1, OLD), (-1, "reload")),
        UNSAFE,
        UNKNOWN,
    ),
    Case(
        "a report-only policy without it binds nobody",
        ((-90, policy(A, B, report_only=True)), (-90, "reload")),
        True,
        -400,
    ),
    Case(
        "max-age=0 without it binds nobody",
        ((-90, policy(A, B, max_age=0)), (-90, "reload")),
        True,
        -400,
    ),
    Case(
        "enforced once, report-only since ten days",
        ((-90, OLD), (-90, "reload"), (-10, policy(A, B, report_only=True)), (-10, "reload")),
        UNSAFE,
        +50,
    ),
    Case("g8: blind to what was served before", ((-1, NEW), (-1, "reload")), UNSAFE, +59, +59),
    Case("g8: no longer blind", ((-90, NEW), (-90, "reload")), True, -400, -30),
    Case(
        "g8: blind, and a known policy binds longer",
        ((-90, OLD), (-90, "reload"), (-10, NEW), (-10, "reload")),
        UNSAFE,
        +50,
        +20,
    ),
    Case("g8: the clock is behind a record", ((+1, NEW),), UNSAFE, UNKNOWN),
    Case("g8: the clock is behind a reload", ((-90, NEW), (+1, "reload")), UNSAFE, UNKNOWN),
    Case(
        "g8: the clock is behind an end",
        ((-90, OLD_WEEK), (-80, NEW), (-80, "reload"), (+1, NEW_SHORT), (+2, "reload")),
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


def test_g8_key_from_the_future_is_not_safe() -> None:
    """A key that was made later than now: the clock is wrong."""
    verdict = rollover.safety(ring_key(KEY, created=NOW + DAY), Ledger(), NOW)
    assert not verdict.at(NOW) and verdict.since == NOW + DAY


def test_safety_begins_at_its_second() -> None:
    """It is not safe a second before."""
    verdict = Safety(NOW)
    assert verdict.at(NOW) and not verdict.at(NOW - timedelta(seconds=1))
    assert not Safety(None).at(NOW) and not Safety(NOW, "a reason").at(NOW)


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
    """Clients visit all the time, and Apache loads what is recorded when it likes: when a key is
    said to be safe, every client that still holds a policy finds the key's pin in it."""
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
            assert all(pin in entry.policy.pins for entry in ledger.binding(now, now))
            assert all(pin in one.pins for one in held)
        elif verdict.since is not None:
            assert verdict.since > now
            later = rollover.safety(ring_key(pin), ledger, verdict.since)
            assert later.at(verdict.since)


def keyring(*backups: str) -> Keyring:
    """A keyring with primary A and the given backups."""
    keys = (ring_key(A, "primary"), *(ring_key(pin) for pin in backups))
    return Keyring("ring", (Member("example.com", ("example.com",), A),), keys)


WITHOUT_B = Ledger().record(policy(A, C), day(-90)).confirm(day(-90))


def test_next_key_is_the_primary() -> None:
    """Unless a rollover is asked for, the key stays, safe or not (G3)."""
    assert rollover.next_key(keyring(B, C), WITHOUT_B, NOW, "ecdsa").pin == A
    assert rollover.next_key(keyring(), WITHOUT_B, NOW, "ecdsa").pin == A


def test_rollover_takes_the_first_safe_backup() -> None:
    """An unsafe backup is passed over, and kept for later."""
    assert rollover.next_key(keyring(B, C, D), WITHOUT_B, NOW, "ecdsa", asked=True).pin == C


def test_g2_rollover_is_refused_with_the_earliest_safe_time() -> None:
    """Two unsafe backups: the error names the earlier time, and how to renew until then."""
    both = Ledger().record(policy(A, B), day(-90)).confirm(day(-90))
    both = both.record(policy(A, C, max_age=86400), day(-10)).confirm(day(-10))
    both = both.record(policy(A, B, C), day(0)).confirm(day(0))
    assert rollover.safety(ring_key(C), both, NOW).since == day(50)
    with pytest.raises(NotSafe) as caught:
        rollover.next_key(keyring(C, B), both, NOW, "ecdsa", asked=True)
    assert "2026-03-02T12:00:00Z" in str(caught.value)
    assert "ring" in str(caught.value) and "--new-key" in str(caught.value)


def test_g8_rollover_is_refused_while_the_time_is_unknown() -> None:
    """The error says that Apache has to be reloaded first."""
    with pytest.raises(NotSafe, match="reload Apache"):
        rollover.next_key(keyring(B), WITHOUT_B, NOW, "ecdsa", asked=True)


def test_rollover_without_backup_is_refused() -> None:
    """There is nothing to roll over to; never a new key that nobody was told of."""
    with pytest.raises(NotSafe, match="no backup"):
        rollover.next_key(keyring(), WITHOUT_B, NOW, "ecdsa", asked=True)


def test_next_key_of_a_type_that_is_not_there() -> None:
    """A keyring has no key of a type without a primary; a backup of that type is none."""
    with pytest.raises(KeyError):
        rollover.next_key(keyring().with_keys([ring_key(B, kind=RSA)]), Ledger(), NOW, "rsa")
