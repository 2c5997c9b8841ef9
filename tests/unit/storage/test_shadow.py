"""What outlives the config dir: copies of keyring files, and a clock that runs forward (G8)."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from certbot_pinkeep.core.errors import DamagedState
from certbot_pinkeep.core.keyring import Keyring
from certbot_pinkeep.core.state import State
from certbot_pinkeep.storage import keyring_file
from certbot_pinkeep.storage.store import Store
from simulated.machine import Site
from simulated.values import (
    DAY,
    HOUR,
    LATER,
    LEDGER,
    NEW,
    NO_WORK_DIR,
    NOW,
    OLD,
    STATE,
    A,
    mode_of,
    tree,
)

MINUTE = timedelta(minutes=1)


@pytest.fixture
def found(tmp_path: Path) -> Store:
    """A store with a work dir."""
    return Store(str(tmp_path / "etc"), str(tmp_path / "work"))


def loaded(of: Store) -> State:
    """What it loads."""
    state = of.load("ring")
    assert state is not None
    return state


def test_copy_is_made_of_each_version(found: Store) -> None:
    """Byte for byte, for its owner only, in a folder that is for its owner only (G7)."""
    for state in (STATE, replace(LATER, saved=1)):
        found.save(state)
        copy = found.shadow.path("ring")
        assert Path(copy).read_bytes() == Path(found.path("ring")).read_bytes()
        assert (mode_of(copy), mode_of(os.path.dirname(copy))) == (0o600, 0o700)


def test_g8_lost_file_is_not_a_first_run(found: Store) -> None:
    """The copy is used instead, in doubt, and looking at it writes nothing."""
    saved = found.save(STATE)
    os.unlink(found.path("ring"))
    before = tree(Path(found.folder).parent)
    state = loaded(found)
    lost = LEDGER.with_uncertainty(f"{found.path('ring')} was lost")
    assert state == replace(saved, ledger=lost) and state.ledger.in_doubt
    assert tree(Path(found.folder).parent) == before
    assert found.names() == ["ring"]


def test_g8_lost_file_stays_in_doubt_when_it_is_saved(found: Store) -> None:
    """What is noted meanwhile does not make the copy certain."""
    found.save(STATE)
    os.unlink(found.path("ring"))
    found.save(loaded(found).with_revoked(A, compromised=False))
    again = loaded(found)
    assert again.saved == 2 and again.ledger.in_doubt
    assert Store(str(Path(found.folder).parent), NO_WORK_DIR).load("ring") == again


def put_older_back(of: Store) -> State:
    """Save two versions, and put the first one back; return the second."""
    first = of.save(STATE)
    content = Path(of.path("ring")).read_bytes()
    second = of.save(replace(LATER, saved=first.saved))
    Path(of.path("ring")).write_bytes(content)
    return second


def test_g8_older_file_that_was_put_back_does_not_count(found: Store) -> None:
    """The copy wins; and what the older file says may be served again is on record with it."""
    second = put_older_back(found)
    state = loaded(found)
    assert state.ledger.in_doubt and state.ledger.uncertain is not None
    assert state.ledger.uncertain.why == f"an older {found.path('ring')} was put back"
    assert state.ledger.entries[:-2] == second.ledger.entries
    added = state.ledger.entries[-2:]
    assert [(one.policy, one.recorded) for one in added] == [
        (OLD, NOW + DAY + HOUR),
        (NEW, NOW + DAY + HOUR),
    ]
    assert state.ledger.may_be_served(OLD) and state.ledger.may_be_served(NEW)
    assert replace(state, ledger=second.ledger) == second


def test_g8_older_file_adds_nothing_that_is_served_anyway(tmp_path: Path, found: Store) -> None:
    """An older version with the same pins: in doubt, and nothing more to say."""
    first = found.save(STATE)
    content = Path(found.path("ring")).read_bytes()
    found.save(first.with_revoked(A, compromised=True))
    Path(found.path("ring")).write_bytes(content)
    state = loaded(found)
    assert state.ledger.in_doubt and state.ledger.entries == LEDGER.entries
    compromised = state.keyring.key(A)
    assert compromised is not None and compromised.role == "compromised"


def test_file_is_used_if_the_copy_is_older_or_gone(found: Store) -> None:
    """A kill between the two writes, a work dir that was emptied: no doubt arises."""
    first = found.save(STATE)
    older = Path(found.shadow.path("ring")).read_bytes()
    second = found.save(replace(LATER, saved=first.saved))
    assert loaded(found) == second
    Path(found.shadow.path("ring")).write_bytes(older)
    assert loaded(found) == second
    Path(found.shadow.path("ring")).unlink()
    assert loaded(found) == second


@pytest.mark.parametrize("content", [b"", b"junk", None, b"cut"])
def test_unreadable_shadow_is_no_shadow(found: Store, content: bytes | None) -> None:
    """Nothing, junk, a folder or half a file in its place: the keyring file alone counts."""
    second = put_older_back(found)
    copy = Path(found.shadow.path("ring"))
    whole = copy.read_bytes()
    copy.unlink()
    if content is None:
        copy.mkdir()
    else:
        copy.write_bytes(whole[:-9] if content == b"cut" else content)
    assert loaded(found) == replace(STATE, saved=1) != second


def test_g8_damaged_file_is_damaged_though_there_is_a_copy(found: Store) -> None:
    """Somebody edited it: an admin decides."""
    found.save(STATE)
    Path(found.path("ring")).write_bytes(b"junk")
    with pytest.raises(DamagedState):
        found.load("ring")


def test_copy_of_another_keyring_is_no_shadow(found: Store) -> None:
    """A copy that says that it is another one's."""
    found.shadow.copy("ring", keyring_file.write(replace(STATE, keyring=Keyring("other"), saved=9)))
    assert found.load("ring") is None


def test_g9_two_config_dirs_share_a_work_dir(tmp_path: Path) -> None:
    """Each has its copies and its clock; a link to a config dir is the same one."""
    one, two = (Store(str(tmp_path / name), str(tmp_path / "work")) for name in ("one", "two"))
    one.save(STATE)
    one.tick(NOW)
    assert two.load("ring") is None and two.latest_known(NOW - DAY) == NOW - DAY
    (tmp_path / "link").symlink_to(tmp_path / "one")
    (tmp_path / "one" / "pinkeep" / "ring.conf").unlink()
    linked = Store(str(tmp_path / "link"), str(tmp_path / "work"))
    assert loaded(linked).keyring == STATE.keyring and linked.latest_known(NOW - DAY) == NOW


@pytest.mark.parametrize(
    ("ticks", "latest"),
    [
        ([], None),
        ([NOW], NOW),
        ([NOW, NOW + HOUR], NOW + HOUR),
        ([NOW, NOW + DAY, NOW], NOW + DAY),
        ([NOW, NOW + MINUTE / 2], NOW),
        ([NOW, NOW + MINUTE / 2, NOW + MINUTE], NOW + MINUTE),
        ([NOW, NOW - DAY], NOW),
    ],
)
def test_g8_clock_only_runs_forward(
    found: Store, ticks: list[datetime], latest: datetime | None
) -> None:
    """The latest time stays on record, to the minute; an earlier one changes nothing."""
    for moment in ticks:
        found.tick(moment)
    assert found.shadow.latest() == latest
    assert found.latest_known(NOW - 9 * DAY) == (latest or NOW - 9 * DAY)
    assert found.latest_known(NOW + 9 * DAY) == NOW + 9 * DAY


def test_clock_is_not_written_more_than_once_a_minute(found: Store) -> None:
    """Certbot renew runs often; the disk is spared."""
    found.tick(NOW)
    before = tree(Path(found.shadow.folder))
    found.tick(NOW + MINUTE / 2)
    found.tick(NOW)
    assert tree(Path(found.shadow.folder)) == before


@pytest.mark.parametrize("content", [b"", b"yesterday\n", b"\xff\xfe", b"2026-03-01"])
def test_unreadable_clock_is_unknown(found: Store, content: bytes) -> None:
    """It is no error, and it is mended by the next tick."""
    found.tick(NOW)
    (Path(found.shadow.folder) / "clock").write_bytes(content)
    assert found.shadow.latest() is None and found.latest_known(NOW) == NOW
    found.tick(NOW + DAY)
    assert found.shadow.latest() == NOW + DAY


def test_g3_work_dir_that_cannot_be_written_does_not_hurt(tmp_path: Path) -> None:
    """A file in its place: everything works as without a shadow."""
    (tmp_path / "work").write_text("not a folder")
    found = Store(str(tmp_path / "etc"), str(tmp_path / "work"))
    saved = found.save(STATE)
    found.tick(NOW)
    assert loaded(found) == saved and found.latest_known(NOW - DAY) == NOW - DAY
    assert (tmp_path / "work").read_text() == "not a folder"


def test_g8_workspace_is_uncertain_until_a_time(tmp_path: Path) -> None:
    """Lost, kept again: nothing is safe before the longest pins of all have run out; then it is."""
    site = Site(tmp_path)
    workflow = type(site.workflow)(str(site.config), str(site.work))
    workflow.keep(site.look(), site.options(max_age=100 * 86400), NOW)
    pins = site.published().pins
    site.file.unlink()
    workflow.keep(site.look(), site.options(max_age=86400), NOW + 5 * DAY)
    state = workflow.store.load(site.name)
    assert state is not None and not state.ledger.in_doubt
    assert state.ledger.uncertain is not None and state.ledger.uncertain.end == NOW + 105 * DAY
    assert site.published().pins == pins and state.saved > 2


def test_g8_copy_that_is_gone_is_made_anew(tmp_path: Path) -> None:
    """By a run that changes nothing else: the next loss would not be noticed."""
    site = Site(tmp_path)
    workflow = type(site.workflow)(str(site.config), str(site.work))
    workflow.keep(site.look(), site.options(), NOW)
    before = site.file.read_bytes()
    _, copy = workflow.store.paths(site.name)
    Path(copy).unlink()
    workflow.keep(site.look(), site.options(), NOW + DAY)
    assert Path(copy).read_bytes() == before == site.file.read_bytes()


def test_g8_workspace_remembers_when_it_ran_last(tmp_path: Path) -> None:
    """A run that changed nothing is known as well: a clock that says less is wrong."""
    site = Site(tmp_path)
    workflow = type(site.workflow)(str(site.config), str(site.work))
    workflow.keep(site.look(), site.options(), NOW)
    before = site.file.read_bytes()
    workflow.keep(site.look(), site.options(), NOW + 9 * DAY)
    assert site.file.read_bytes() == before
    assert workflow.store.latest_known(NOW) == NOW + 9 * DAY
