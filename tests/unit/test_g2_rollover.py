"""When a key can be exchanged without locking anybody out (G2, G8)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from sites import DAY, NOW, fake_pin
from test_g2_ledger import EVENTS, lived, policy

from certbot_pinkeep import rollover
from certbot_pinkeep.errors import NotSafe
from certbot_pinkeep.keyring import Key, Keyring
from certbot_pinkeep.ledger import Ledger
from certbot_pinkeep.pins import KeyKind
from certbot_pinkeep.policy import Policy

KIND = KeyKind("ecdsa", "secp256r1")
NEW = Key(fake_pin("b"), KIND, "backup", "keys/b", NOW - 10 * DAY)


def book(*steps: tuple[int, Policy | None]) -> Ledger:
    """A ledger from (day, policy recorded, or ``None`` for confirmed)."""
    result = Ledger()
    for day, recorded in steps:
        at = NOW + day * DAY
        result = result.record(recorded, at) if recorded else result.confirm(at)
    return result


WITHOUT, WITH = policy("a", "c"), policy("a", "b")
#: name: (history, the day of asking, the day from which it is safe or None for unknown)
HISTORIES: dict[str, tuple[Ledger, int, int | None]] = {
    "nothing was ever published": (book(), 0, -10),
    "the key is in every policy": (book((0, WITH), (0, None)), 5, -10),
    "the policy that is served lacks it": (book((0, WITHOUT), (0, None)), 50, None),
    "the next one has it but is pending": (book((0, WITHOUT), (0, None), (9, WITH)), 90, None),
    "the next one is served": (book((0, WITHOUT), (0, None), (9, WITH), (10, None)), 11, 70),
    "and the old one has run out": (book((0, WITHOUT), (0, None), (9, WITH), (10, None)), 70, 70),
    "the old one had a longer max-age": (
        book((0, policy("a", "c", days=200)), (0, None), (9, WITH), (10, None)),
        150,
        210,
    ),
    "max-age was raised afterwards": (
        book((0, WITHOUT), (0, None), (9, policy("a", "b", days=300)), (10, None)),
        71,
        70,
    ),
    "the one without it was report-only": (
        book((0, policy("a", "c", report_only=True)), (0, None)),
        1,
        -10,
    ),
    "it was dropped and listed again": (
        book((0, WITH), (0, None), (5, WITHOUT), (5, None), (8, WITH), (8, None)),
        20,
        68,
    ),
    "the ledger is blind": (replace(book((0, WITH)), blind_until=NOW + 60 * DAY), 1, 60),
    "the clock is behind the ledger": (book((0, WITH), (0, None)), -1, None),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_g2_histories(name: str) -> None:
    """Each named history gives the day from which exchanging the key is safe."""
    ledger, day, expected = HISTORIES[name]
    verdict = rollover.safety(NEW, ledger, NOW + day * DAY)
    since = None if expected is None else NOW + expected * DAY
    assert verdict.since == since
    assert verdict.at(NOW + day * DAY) == (expected is not None and expected <= day)
    assert bool(verdict.why) != verdict.at(NOW + day * DAY)


@given(EVENTS)
def test_g2_a_safe_key_is_in_every_policy_that_binds(
    events: list[tuple[int, Policy | None]],
) -> None:
    """Whatever happened: when switching is called safe, no client holds pins without the key."""
    ledger, now = lived(events)
    key = replace(NEW, created=NOW - 1000 * DAY)
    if rollover.safety(key, ledger, now).at(now):
        assert all(key.pin in entry.policy.pins for entry in ledger.binding(now, now))


def keyring(*letters: str) -> Keyring:
    """A keyring with a primary and backups."""
    roles = ["primary"] + ["backup"] * (len(letters) - 1)
    return Keyring(
        "k",
        keys=tuple(
            replace(NEW, pin=fake_pin(letter), role=role)  # type: ignore[arg-type]
            for letter, role in zip(letters, roles, strict=True)
        ),
    )


@pytest.mark.parametrize(
    ("asked", "history", "expected"),
    [
        (False, book((0, WITHOUT)), "a"),
        (True, book((0, policy("a", "b", "c")), (0, None)), "b"),
        (True, book((0, policy("a", "c")), (0, None)), "c"),
    ],
)
def test_g2_the_first_safe_backup_is_taken(asked: bool, history: Ledger, expected: str) -> None:
    """The primary, or where a rollover is asked for, the first backup that locks nobody out."""
    key = rollover.next_key(keyring("a", "b", "c"), history, NOW + DAY, "ecdsa", asked)
    assert key.pin == fake_pin(expected)


@pytest.mark.parametrize("day", [0, 100])
def test_g2_an_unsafe_rollover_is_refused_with_the_reason(day: int) -> None:
    """Where no backup is safe, the answer is a time or what to do, never a key."""
    at: datetime = NOW + day * DAY
    with pytest.raises(NotSafe, match="without its pin may still be served"):
        rollover.next_key(keyring("a", "b"), book((0, WITHOUT), (0, None)), at, "ecdsa", True)
    with pytest.raises(NotSafe, match="2027-01-31T09:00:00Z"):
        rollover.next_key(
            keyring("a", "b"),
            book((0, WITHOUT), (0, None), (9, WITH), (9, None)),
            NOW + 20 * DAY,
            "ecdsa",
            True,
        )
