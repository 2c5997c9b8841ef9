"""The history: what expired, for the timeline alone. It grows, and stops nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from certbot_pinkeep.core.holdings import Release, Window
from certbot_pinkeep.core.ledger import MOST_EXPIRED
from certbot_pinkeep.core.state import State
from certbot_pinkeep.reports import timeline
from certbot_pinkeep.storage import history
from certbot_pinkeep.storage.store import Store
from simulated.values import DAY, NO_WORK_DIR, NOW, STATE, A, B, C, mode_of, policy


def lived(found: Store, changes: int) -> State:
    """A keyring whose max-age was changed so often, a year apart."""
    state = found.save(STATE)
    for number in range(1, changes + 1):
        at = NOW + number * 365 * DAY
        book = state.ledger.record(policy(A, B, max_age=600 + number), at).confirm(at)
        state = found.save(replace(state, ledger=book.prune(at + 100 * DAY)))
    return state


def test_history_has_all_that_expired_each_once(tmp_path: Path) -> None:
    """Also what the keyring file does not remember any more; for its owner only."""
    found = Store(str(tmp_path), NO_WORK_DIR)
    state = lived(found, MOST_EXPIRED + 5)
    history = found.history("ring")
    assert len(history) == len(set(history)) > MOST_EXPIRED
    assert set(state.ledger.past) < set(history)
    assert [one.until for one in history] == sorted(one.until for one in history)
    assert mode_of(found.history_path("ring")) == 0o600
    again = Store(str(tmp_path), NO_WORK_DIR)
    again.save(state)
    assert again.history("ring") == history


def test_history_is_what_was_put_in(tmp_path: Path) -> None:
    """Whatever the label; a policy that was not replaced."""
    label = "ios 3.2 'a' \"b\" 100%"
    windows = (
        Window("", (A, B), NOW, None, NOW + DAY),
        Window(label, (C,), NOW, NOW + DAY, NOW + 9 * DAY),
        Window("policy", (), NOW, NOW, NOW),
    )
    found = Store(str(tmp_path), NO_WORK_DIR)
    found.save(STATE)
    history.add(found.history_path("ring"), windows)
    assert found.history("ring") == windows


def nothing(path: Path) -> None:
    path.unlink()


def damage(path: Path) -> None:
    path.write_bytes(b"\xff\0\n" + b"junk " * 9 + b"\n2026-03-01T12:00:00Z - - policy")


def in_its_way(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def opened(path: Path) -> None:
    path.chmod(0o666)


@pytest.mark.parametrize("harm", [nothing, damage, in_its_way, pipe, opened])
def test_history_that_is_lost_or_odd_stops_nothing(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    """The keyring is loaded and saved as ever; the picture has what the ledger remembers."""
    found = Store(str(tmp_path), NO_WORK_DIR)
    state = lived(found, 3)
    harm(Path(found.history_path("ring")))
    found = Store(str(tmp_path), NO_WORK_DIR)
    assert found.load("ring") == state and found.history("ring") == ()
    saved = found.save(found.load("ring") or state)
    line = timeline.timeline(saved, NOW + 1200 * DAY, found.history("ring"))
    assert len(line.holdings) == len(saved.ledger.past) + len(saved.ledger.entries)


def test_history_goes_on_after_a_line_that_a_kill_left(tmp_path: Path) -> None:
    """That one is passed over, and the next one is whole."""
    found = Store(str(tmp_path), NO_WORK_DIR)
    lived(found, 2)
    known, path = found.history("ring"), Path(found.history_path("ring"))
    path.write_bytes(path.read_bytes() + b"2026-03-01T12:00:00Z 2026-0")
    added = Window("", (A, B), NOW, NOW, NOW + DAY)
    history.add(found.history_path("ring"), [added])
    assert found.history("ring") == (*known, added)


def test_timeline_has_the_last_of_the_history_and_nothing_twice() -> None:
    """What an admin's word on the clock brought back is held, not ended."""
    release = Release("ios", "1", (A, B), (), NOW, NOW + 50 * DAY)
    book = STATE.ledger.with_release(release)
    ended = release.window(NOW)
    past = [Window("", (A, C), NOW - n * DAY, NOW, NOW + n * DAY) for n in range(40)]
    line = timeline.timeline(replace(STATE, ledger=book), NOW, [*past, ended, ended])
    assert [row.label for row in line.holdings].count("ios 1") == 1
    assert len(line.holdings) == len(book.holdings) + 24
