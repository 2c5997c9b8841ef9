"""What other users can change is not believed: no copy, no cache, no keyring file."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from certbot_pinkeep.core.errors import UntrustedState
from certbot_pinkeep.storage import atomic, settings, shadow, trust
from certbot_pinkeep.storage.keyring_file import write
from certbot_pinkeep.storage.shadow import Shadow
from certbot_pinkeep.storage.store import Store
from certbot_pinkeep.storage.uptodate import Note, UpToDate
from simulated.machine import Site
from simulated.values import DAY, LATER, NOW, STATE, mode_of

EVIL = "/tmp/evil"
COMMANDS = {
    "configtest-command": EVIL,
    "reload-command": EVIL,
    "snippet-dir": "/tmp",
    "max-age": "600",
}


@pytest.fixture(autouse=True)
def untold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was said yet."""
    monkeypatch.setattr(shadow, "_told", set())


@pytest.fixture
def found(tmp_path: Path) -> Store:
    """A store that was saved once."""
    store = Store(str(tmp_path / "etc"), str(tmp_path / "work"))
    store.save(STATE)
    store.tick(NOW)
    return store


def folders_of(path: str, top: Path) -> Iterator[Path]:
    """The folders below *top* down to *path*."""
    yield from (one for one in reversed(Path(path).parents) if one.is_relative_to(top))


# How folders are made


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o077])
def test_g7_folders_are_made_with_their_mode_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """Each of them, not the last one only."""
    before = os.umask(umask)
    try:
        atomic.make_folder(str(tmp_path / "a" / "b" / "c"), 0o700)
        store = Store(str(tmp_path / "etc"), str(tmp_path / "work"))
        store.save(STATE)
        UpToDate(str(tmp_path / "noted")).set({"example.com": Note({}, [])}, [])
    finally:
        os.umask(before)
    assert [mode_of(tmp_path / name) for name in ("a", "a/b", "a/b/c")] == [0o755, 0o755, 0o700]
    assert mode_of(tmp_path / "work") == mode_of(tmp_path / "etc/pinkeep") == 0o755
    assert mode_of(tmp_path / "work/pinkeep") == mode_of(tmp_path / "noted/pinkeep") == 0o700
    assert mode_of(Path(store.shadow.folder)) == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
@pytest.mark.parametrize("which", ["pinkeep", "inner"])
def test_g8_a_folder_that_was_open_is_emptied_and_closed(
    found: Store, tmp_path: Path, mode: int, which: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An earlier release left such folders. What is in one may be somebody else's."""
    folder = tmp_path / "work" / "pinkeep" if which == "pinkeep" else Path(found.shadow.folder)
    planted = write(replace(LATER, saved=900, settings=COMMANDS))
    (folder / "planted.json").write_text("{}")
    Path(found.shadow.path("ring")).write_bytes(planted)
    folder.chmod(mode)
    found.save(STATE)
    assert mode_of(folder) == 0o700 and not (folder / "planted.json").exists()
    assert found.shadow.read("ring") == Path(found.path("ring")).read_bytes()
    assert found.shadow.names() == ["ring"]


# What is not believed


def opened(path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let other users change what is at *path*."""
    if how == "owner":
        others = os.lstat(path).st_ino
        real = os.lstat

        def lstat(one: str) -> os.stat_result:
            seen = real(one)
            if seen.st_ino != others:
                return seen
            return os.stat_result([*seen[:4], 4711, *seen[5:]])

        monkeypatch.setattr(os, "lstat", lstat)
    else:
        path.chmod(stat.S_IMODE(path.stat().st_mode) | int(how, 8))


@pytest.mark.parametrize("how", ["020", "002", "owner"])
@pytest.mark.parametrize("level", ["root", "work", "work/pinkeep", "folder", "file"])
def test_g8_a_copy_that_others_can_change_is_as_if_it_was_not_there(
    tmp_path: Path,
    level: str,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever is open: a folder far above, its own folder, or the file. It is said once, with the
    command that closes it."""
    root = tmp_path / "root"
    config = tmp_path / "etc"
    store = Store(str(config), str(root / "work"))
    first = store.save(STATE)
    store.tick(NOW + DAY)
    Path(store.shadow.path("ring")).write_bytes(write(replace(LATER, saved=900, settings=COMMANDS)))
    paths = {"root": root, "folder": Path(store.shadow.folder)}
    paths["file"] = paths["folder"] / "ring.conf"
    opened(paths.get(level, root / level), how, monkeypatch)
    fresh = Store(str(config), str(root / "work"))
    assert fresh.load("ring") == first and fresh.known("ring") == [first]
    assert fresh.shadow.read("ring") is None
    if level != "file":
        assert fresh.shadow.names() == [] and fresh.latest_known(NOW) == NOW
    told = [one for one in caplog.messages if "does not use" in one]
    assert len(told) == 1
    assert ("Run: chown" if how == "owner" else "Run: chmod go-w") in told[0]


def test_the_named_command_helps(
    tmp_path: Path, found: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """After it the copies and the clock count again."""
    (tmp_path / "work").chmod(0o777)
    assert found.shadow.read("ring") is None
    command = caplog.messages[-1].partition("Run: ")[2]
    subprocess.run(command, shell=True, check=True)
    assert found.shadow.read("ring") is not None and found.shadow.latest() is not None


@pytest.mark.parametrize("level", ["work", "work/pinkeep", "work/pinkeep/example.com.json"])
def test_g8_a_note_that_others_can_change_is_not_believed(tmp_path: Path, level: str) -> None:
    """With a planted one a lineage would never be looked at."""
    work = str(tmp_path / "work")
    UpToDate(work).set({"example.com": Note({}, [])}, [])
    assert UpToDate(work).is_up_to_date("example.com", {}, [])
    (tmp_path / level).chmod(0o777)
    assert not UpToDate(work).is_up_to_date("example.com", {}, [])


def test_g8_nothing_is_written_below_a_folder_of_others(
    tmp_path: Path, found: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They could have it written elsewhere."""
    before = Path(found.shadow.path("ring")).read_bytes()
    opened(tmp_path / "work" / "pinkeep", "owner", monkeypatch)
    found.save(LATER)
    found.set_clock(datetime(2040, 1, 1, tzinfo=timezone.utc))
    UpToDate(str(tmp_path / "work")).set({"example.com": Note({}, [])}, [])
    assert Path(found.shadow.path("ring")).read_bytes() == before
    assert not (tmp_path / "work" / "pinkeep" / "example.com.json").exists()


@pytest.mark.parametrize("level", ["", "etc", "etc/pinkeep", "etc/pinkeep/ring.conf"])
def test_g8_a_keyring_file_that_others_can_change_is_not_believed(
    tmp_path: Path, found: Store, level: str
) -> None:
    """It names commands that root runs. The error names the command that closes it."""
    (tmp_path / level).chmod(0o777)
    fresh = Store(str(tmp_path / "etc"), str(tmp_path / "work"))
    with pytest.raises(UntrustedState) as caught:
        fresh.load("ring")
    assert settings.values(fresh, "ring", {"reload-command": None}, {})["reload-command"] is None
    subprocess.run(str(caught.value).partition("Run: ")[2], shell=True, check=True)
    assert fresh.load("ring") is not None


def test_a_folder_with_the_sticky_bit_is_no_hole(tmp_path: Path) -> None:
    """In /tmp nobody replaces what is another user's."""
    (tmp_path / "sticky").mkdir()
    (tmp_path / "sticky").chmod(0o1777)
    (tmp_path / "sticky" / "file").write_text("")
    assert trust.exposed(str(tmp_path / "sticky" / "file")) is None
    (tmp_path / "sticky" / "file").chmod(0o666)
    assert trust.exposed(str(tmp_path / "sticky" / "file")) is not None


def test_links_are_followed_to_where_they_lead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also relative ones; an open folder behind one counts, as does somebody else's link."""
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "far" / "away" / "file").write_text("")
    (tmp_path / "near").mkdir()
    link = tmp_path / "near" / "link"
    link.symlink_to("../far/away")
    assert trust.exposed(str(link / "file")) is None
    (tmp_path / "far").chmod(0o775)
    seen = trust.exposed(str(link / "file"))
    assert seen is not None and seen.path == str(tmp_path / "far")
    (tmp_path / "far").chmod(0o755)
    (tmp_path / "round").symlink_to("round")
    assert trust.exposed(str(tmp_path / "round" / "file")) is None
    opened(link, "owner", monkeypatch)
    seen = trust.exposed(str(link / "file"))
    assert seen is not None and seen.path == str(link) and "chown -h" in seen.mend


# What never comes out of a copy


@pytest.mark.parametrize("left", ["lost", "older"])
def test_g8_commands_never_come_out_of_a_copy(
    tmp_path: Path, left: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even of one that is believed: root would run them. What is missing then is said, with the
    command that gives it again."""
    store = Store(str(tmp_path / "etc"), str(tmp_path / "work"))
    own = store.save(replace(STATE, settings={"reload-command": "true"}))
    content = Path(store.path("ring")).read_bytes()
    store.save(replace(LATER, saved=own.saved, settings=COMMANDS, snippet="/tmp/ring.conf"))
    if left == "lost":
        Path(store.path("ring")).unlink()
    else:
        Path(store.path("ring")).write_bytes(content)
    loaded = Store(str(tmp_path / "etc"), str(tmp_path / "work")).load("ring")
    assert loaded is not None and loaded.ledger.in_doubt
    kept = {} if left == "lost" else {"reload-command": "true"}
    assert loaded.settings == {"max-age": "600", **kept}
    assert loaded.snippet == ("" if left == "lost" else STATE.snippet)
    said = " ".join(caplog.messages)
    assert f" --configtest-command {EVIL}" in said and " --snippet-dir /tmp" in said


def test_g8_nobody_runs_a_command_by_planting_a_copy(tmp_path: Path) -> None:
    """As an attacker did it: the first run was under umask 000, and the copy has a newer count."""
    site = Site(tmp_path)
    before = os.umask(0)
    try:
        store = Store(str(site.config), str(site.work))
        store.save(replace(STATE, keyring=replace(STATE.keyring, name="example.com")))
    finally:
        os.umask(before)
    (site.work / "pinkeep").chmod(0o777)  # as the earlier release left it
    copy = Shadow(str(site.work), str(site.config)).path("example.com")
    planted = replace(LATER, saved=900, settings=COMMANDS)
    Path(copy).write_bytes(
        write(replace(planted, keyring=replace(planted.keyring, name="example.com")))
    )
    fresh = Store(str(site.config), str(site.work))
    values = settings.values(fresh, "example.com", dict.fromkeys(COMMANDS), {})
    assert EVIL not in values.values()


def test_the_lock_is_for_its_owner_only(tmp_path: Path) -> None:
    """A user who could open it could keep certbot waiting for ever."""
    with atomic.locked(str(tmp_path)):
        lock = next(tmp_path.iterdir())
        assert mode_of(lock) == 0o600
        asked = "import sys; from certbot_pinkeep.storage import atomic; print(atomic.is_locked(sys.argv[1]))"
        words = [sys.executable, "-c", asked, str(tmp_path)]
        assert subprocess.check_output(words, text=True).strip() == "True"
    assert not atomic.is_locked(str(tmp_path))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o666, 0o604])
def test_g3_nobody_else_holds_the_lock(tmp_path: Path, mode: int) -> None:
    """After a 'chmod -R' others could open it, and certbot would wait for them for ever."""
    with atomic.locked(str(tmp_path)):
        lock = next(tmp_path.iterdir())
    lock.chmod(mode)
    held = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_SH); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", held, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "1\n"
        taken = (
            "import sys; from certbot_pinkeep.storage import atomic\n"
            "with atomic.locked(sys.argv[1]): print(2)"
        )
        words = [sys.executable, "-c", taken, str(tmp_path)]
        try:
            assert subprocess.check_output(words, text=True, timeout=60) == "2\n"
        finally:
            other.kill()
    assert mode_of(lock) == 0o600


def test_g5_a_lock_that_was_made_anew_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that waited for the earlier lock does not work beside the holder of the new one."""
    real, left = fcntl.flock, ["once"]

    def flock(descriptor: int, how: int) -> None:
        real(descriptor, how)
        if left:  # another run made it anew while we waited
            left.clear()
            (tmp_path / ".lock").unlink()

    monkeypatch.setattr(fcntl, "flock", flock)
    with atomic.locked(str(tmp_path)):
        assert not left and (tmp_path / ".lock").exists()
        assert atomic.is_locked(str(tmp_path))


@pytest.mark.parametrize("count", [2, 40])
def test_one_command_closes_everything(tmp_path: Path, count: int) -> None:
    """However much it is: a message that is too long would lose its middle."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    paths = [folder / f"{number}.conf" for number in range(count)]
    for path in paths:
        path.touch()
        path.chmod(0o666)
    found = trust.all_exposed(map(str, paths))
    command = trust.mend_all(found, str(folder))
    assert len(command) < 500 and ("-R" in command) == (count > 8)
    subprocess.run(["sh", "-c", command], check=True)
    assert trust.all_exposed(map(str, paths)) == []
