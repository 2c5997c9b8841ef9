"""What admins are told about a rollover: who, from when, what to run; and who is locked out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from certbot_pinkeep.core import explain, rollover
from certbot_pinkeep.core.keyring import Keyring, Member
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.rollover import Decision
from certbot_pinkeep.core.state import State
from simulated.values import DAY, NOW, A, B, C, policy, ring_key

WEEK = 7 * 86400
#: Without B: served for 50 days, then for 5 days with another max-age; B is safe in 50 days.
LEDGER = (
    Ledger()
    .record(policy(A, C), NOW - 60 * DAY)
    .confirm(NOW - 60 * DAY)
    .record(policy(A, C, max_age=WEEK), NOW - 15 * DAY)
    .confirm(NOW - 10 * DAY)
    .record(policy(A, B), NOW - 5 * DAY)
    .confirm(NOW - 5 * DAY)
)
UNTIL = "2026-04-20T12:00:00Z"  # NOW + 50 days
UNKNOWN = Ledger().record(policy(A, C), NOW - DAY)
RING = Keyring(
    "ring",
    (Member("example.com", ("example.com",), A),),
    (ring_key(A, "primary"), ring_key(B)),
)
ASKED, REVOKED = RING.mark_for_retirement(), RING.with_revoked(A)
COMPROMISED = RING.with_compromised(A)
COMPROMISED_OFFLINE = COMPROMISED.changed(lambda key: key.pin == B, path=None)
ALONE = Keyring("ring", RING.members, RING.keys[:1])


def decided(ring: Keyring, ledger: Ledger = LEDGER) -> Decision:
    """The decision for its ECDSA key, now."""
    return rollover.decide(ring, ledger, NOW, "ecdsa")


Say = Callable[[], str]
SENTENCES: dict[str, tuple[Say, list[str]]] = {
    "rolling, asked": (
        lambda: explain.rolling("ring", decided(ASKED, Ledger())),
        ["keyring ring", B, "you asked for it"],
    ),
    "rolling, revoked": (
        lambda: explain.rolling("ring", decided(REVOKED, Ledger())),
        ["keyring ring", B, "its certificate was revoked"],
    ),
    "rolling, by age": (
        lambda: explain.rolling(
            "ring",
            decided(replace(RING, rollover_days=0).served_since({A: NOW}, NOW), Ledger()),
        ),
        ["keyring ring", B, "--pinkeep-rollover-days"],
    ),
    "rolling, compromised": (
        lambda: explain.rolling("ring", decided(COMPROMISED, Ledger())),
        ["keyring ring", B, "the key is compromised"],
    ),
    "held": (
        lambda: explain.held("ring", decided(REVOKED)),
        ["keyring ring", "was revoked", f"safe from {UNTIL}", "keeps the current key"],
    ),
    "held, unknown": (
        lambda: explain.held("ring", decided(ASKED, UNKNOWN)),
        ["keyring ring", "may still be served", "does not know yet", "certbot-pinkeep confirm"],
    ),
    "held, no backup": (
        lambda: explain.held("ring", decided(ALONE.mark_for_retirement())),
        ["keyring ring", "no backup key"],
    ),
    "held, clock": (
        lambda: explain.held("ring", decided(ASKED, Ledger().with_latest_known(NOW + DAY))),
        ["keyring ring", "2026-03-01T12:00:00Z", "2026-03-02T12:00:00Z was reached before"],
    ),
    "promise": (
        lambda: explain.promise("ring", decided(ASKED, Ledger())),
        ["next renewal", "keyring ring", B],
    ),
    "promise, later": (
        lambda: explain.promise("ring", decided(ASKED)),
        ["first renewal that is safe", "keyring ring", B, UNTIL, "keep the current key"],
    ),
    "promise, forced": (
        lambda: explain.promise("ring", decided(ASKED), force=True),
        ["next renewal", "keyring ring", B],
    ),
    "promise, compromised": (
        lambda: explain.promise("ring", decided(COMPROMISED)),
        [B, UNTIL, "renewals fail", "certbot-pinkeep rollover ring --now --force"],
    ),
    "promise, compromised, the next backup is offline": (
        lambda: explain.promise("ring", decided(COMPROMISED_OFFLINE.with_keys([ring_key(C)]))),
        [
            "until then renewals fail",
            f"drop {B}",
            "Run: certbot-pinkeep rollover ring --now --force",
        ],
    ),
    "promise, no backup": (
        lambda: explain.promise("ring", decided(ALONE.mark_for_retirement())),
        ["keyring ring", "after it has a backup key", "certbot renew"],
    ),
    "refusal": (
        lambda: explain.refusal("ring", decided(ASKED)),
        ["keyring ring", UNTIL, "certbot-pinkeep rollover ring --when-safe"],
    ),
    "locked in": (
        lambda: explain.locked_in(COMPROMISED, decided(COMPROMISED), LEDGER, now=NOW),
        [
            "keyring ring is compromised",
            "old certificate stays",
            B,
            "certbot-pinkeep rollover ring --now --force",
            "locks out",
            UNTIL,
        ],
    ),
    "locked in, no backup": (
        lambda: explain.locked_in(ALONE, decided(ALONE.with_compromised(A)), LEDGER, now=NOW),
        [
            "keyring ring is compromised",
            "certbot install --installer pinkeep",
            "rollover ring --now --force",
        ],
    ),
    "locked in, for a new certificate": (
        lambda: explain.locked_in(COMPROMISED, decided(COMPROMISED), LEDGER, now=NOW, new=True),
        [B, UNTIL, "certbot-pinkeep rollover ring --force", "ask for the certificate again"],
    ),
    "pinned": (lambda: explain.unpinning(unpinned(LEDGER, False), NOW), ["keyring ring is pinned"]),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_sentence_names_the_keyring_the_time_and_the_command(name: str) -> None:
    """Each of the table above has its parts, and is whole sentences; each command has a line of its own."""
    say, parts = SENTENCES[name]
    said = say()
    assert [part for part in parts if part not in said] == []
    lines = said.split("\n")
    assert all(line.startswith("Run: ") or line.endswith(".") for line in lines)
    assert not any("Run: " in line[1:] for line in lines)
    assert "  " not in said and "None" not in said


def test_promise_of_a_rollover_that_can_be_says_nothing_of_waiting() -> None:
    """No time if none is to be waited for."""
    assert "safe from" not in explain.promise("ring", decided(ASKED, Ledger()))
    assert "safe from" not in explain.promise("ring", decided(ASKED), force=True)


def test_g2_announcement_lists_exactly_the_victims() -> None:
    """Policy by policy: from when to when it was served, and until when clients hold it."""
    assert explain.announcement(ring_key(B), LEDGER, NOW) == (
        "This rollover locks out "
        "clients that noted the pins served from 2025-12-31T12:00:00Z to 2026-02-19T12:00:00Z, until "
        "2026-04-20T12:00:00Z; "
        "clients that noted the pins served from 2026-02-14T12:00:00Z to 2026-02-24T12:00:00Z, until "
        "2026-03-03T12:00:00Z."
    )


@pytest.mark.parametrize(("days", "count"), [(0, 2), (1, 2), (2, 1), (49, 1), (50, 0), (999, 0)])
def test_g2_victims_are_those_who_hold_pins_then(days: int, count: int) -> None:
    """A client that has forgotten by then is no victim any more."""
    at = NOW + days * DAY
    found = rollover.locked_out(B, LEDGER, at)
    assert found == LEDGER.entries[:count]
    said = explain.announcement(ring_key(B), LEDGER, at)
    assert said.count("until") == count and (said == explain.NOBODY) == (count == 0)


def test_g2_victims_of_each_key_are_others() -> None:
    """A client that notes pins without C now is locked out by C, without end."""
    assert rollover.locked_out(A, LEDGER, NOW) == ()
    assert rollover.locked_out(C, LEDGER, NOW) == LEDGER.entries[2:]
    assert explain.announcement(ring_key(C), LEDGER, NOW) == (
        "This rollover locks out clients that note the pins that may be served since "
        "2026-02-24T12:00:00Z, until 2026-04-30T12:00:00Z or later."
    )


def test_g8_announcement_says_what_is_not_known() -> None:
    """Blind, in doubt, or with a clock that is behind: not only the known ones are locked out."""
    lost = LEDGER.with_uncertainty("it was lost", NOW + 9 * DAY)
    key = ring_key(A)
    assert explain.announcement(key, lost, NOW) == (
        "This rollover locks out clients that hold pins that are not on record (it was lost), "
        "until 2026-03-10T12:00:00Z."
    )
    assert explain.announcement(key, lost, NOW + 9 * DAY) == explain.NOBODY
    uncertain = explain.announcement(ring_key(B), LEDGER.contradicted("it was lost", []), NOW)
    assert uncertain.count("clients that noted") == 2
    assert uncertain.endswith("other clients, which are unknown: it was lost.")
    behind = explain.announcement(key, LEDGER.with_latest_known(NOW + DAY), NOW)
    assert "unknown: the clock says 2026-03-01T12:00:00Z" in behind


def unpinned(ledger: Ledger, unpin: bool = True) -> State:
    """A keyring that leaves pinning."""
    return State(Keyring("ring"), ledger, unpin=unpin)


#: max-age=0 is served since yesterday; before, pins were served for 60 days.
LEAVING = LEDGER.record(policy(A, B, max_age=0), NOW - DAY).confirm(NOW - DAY)


@pytest.mark.parametrize(
    ("ledger", "days", "parts"),
    [
        (LEAVING, 0, ["max-age=0", "until 2026-04-29T12:00:00Z at the latest", "certbot renew"]),
        (
            LEAVING.with_uncertainty("it was lost", NOW + 99 * DAY),
            0,
            ["until 2026-06-08T12:00:00Z"],
        ),
        (LEAVING, 59, ["is unpinned", "no header"]),
        (
            LEDGER.record(policy(A, B, max_age=0), NOW - DAY),
            0,
            ["may not send max-age=0 yet", "Reload", "certbot-pinkeep confirm ring"],
        ),
    ],
)
def test_unpinning_tells_how_far_it_is(ledger: Ledger, days: int, parts: list[str]) -> None:
    """What is sent, until when pins are held, and what to do."""
    said = explain.unpinning(unpinned(ledger), NOW + days * DAY)
    assert [part for part in ["keyring ring", *parts] if part not in said] == []


def test_g8_unpinning_promises_no_time_that_is_not_known() -> None:
    """With a clock that is behind, or in doubt, nobody can say until when pins are held."""
    for ledger in (
        LEAVING.with_latest_known(NOW + 999 * DAY),
        LEAVING.contradicted("it was lost", []),
    ):
        said = explain.unpinning(unpinned(ledger), NOW + 100 * DAY)
        assert "at the latest" not in said
        assert "no header is sent" not in said
