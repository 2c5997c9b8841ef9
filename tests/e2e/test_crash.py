"""Killed at any moment, and watched at every moment: G5 and G7."""

from __future__ import annotations

import builtins
import io
import os
import shutil
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import certbot.compat.os
import pytest

from e2e.killing import Guest, Scene, moments, saved_keys, visible, whole_files
from e2e.reasons import FILES, LAB
from e2e.world import NAME, OFFLINE, Bot, Pinned, check_closed, keys, live_pin, pins_in, tree
from lab import Wget2

MANY = 300

NewcomerMaker = Callable[[], Wget2]


def survive(site: Pinned, newcomer: NewcomerMaker, *args: str) -> int:
    """Kill ``certbot renew ARGS`` at each moment; return how many those are.

    Right after a kill Apache is reloaded, as logrotate does it at night, and somebody visits for
    the first time. Then a plain `certbot renew` must bring everything up to date, and that visitor
    must be served still. If Apache would load what it loads already, visitors need not come.
    """
    bot, pin = site.bot, site.live_pin
    killed = moments(bot, "renew", *bot.account, *args)
    site.check_whole()
    seen: object = None
    for kill in killed:
        kill.restore()
        before = saved_keys(bot)
        whole_files(bot)
        seen, earlier = visible(site), seen
        guest = None if seen == earlier else Guest(site, newcomer())

        if bot.fork_renew(*OFFLINE).returncode:
            bot.fork_renew(*OFFLINE).check()

        site.check_whole()
        assert site.live_pin == pin
        assert before <= saved_keys(bot)
        if guest:
            guest.come_back()
    return len(killed)


@FILES
@pytest.mark.long
def test_g5_killed_at_each_step_of_an_adoption(site: Pinned, newcomer: NewcomerMaker) -> None:
    """No key is lost, no file is half-written, nobody is locked out; the next run completes it."""
    assert survive(site, newcomer, *OFFLINE) > 20


@pytest.mark.long
def test_g5_killed_at_each_step_of_a_renewal(pinned: Pinned, newcomer: NewcomerMaker) -> None:
    """The same for a forced renewal that stages another backup on its way."""
    pinned.bot.renew(*OFFLINE).check()
    assert survive(pinned, newcomer, "--force-renewal", *OFFLINE) > 10


# At every moment


class Watch:
    """Notes the mode of each file and folder below a folder at the moment in which it is made."""

    def __init__(self, folder: Path, notes: Path) -> None:
        self.folder = str(folder)
        self.notes = notes

    def begin(self) -> None:
        """Watch this process, with the most careless umask that there is."""
        os.umask(0)
        notes = os.open(self.notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        open_, mkdir, io_open = os.open, os.mkdir, builtins.open

        def note(path: Any, was_there: bool) -> None:
            where = os.path.abspath(os.fspath(path)) if isinstance(path, (str, Path)) else ""
            if where.startswith(self.folder) and not was_there:
                mode = os.lstat(where).st_mode & 0o777
                os.write(notes, f"{mode:o} {os.path.relpath(where, self.folder)}\n".encode())

        def there(path: Any) -> bool:
            return not isinstance(path, (str, Path)) or os.path.lexists(path)

        def watched_open(path: Any, *args: Any, **named: Any) -> Any:
            before = there(path)
            descriptor = open_(path, *args, **named)
            note(path, before)
            return descriptor

        def watched_mkdir(path: Any, *args: Any, **named: Any) -> None:
            mkdir(path, *args, **named)
            note(path, False)

        def watched_io_open(file: Any, *args: Any, **named: Any) -> Any:
            before = there(file)
            opened = io_open(file, *args, **named)
            note(file, before)
            return opened

        for module in (os, certbot.compat.os):
            for name, real, watched in (
                ("open", open_, watched_open),
                ("mkdir", mkdir, watched_mkdir),
            ):
                if getattr(module, name) is real:
                    setattr(module, name, watched)
        for place in (builtins, io):
            setattr(place, "open", watched_io_open)  # noqa: B010

    def seen(self) -> list[tuple[int, str]]:
        """What was made, in order."""
        lines = self.notes.read_text().splitlines()
        return [(int(mode, 8), where) for mode, where in (line.split(" ", 1) for line in lines)]


def test_g7_private_from_the_first_byte(bot: Bot, tmp_path: Path) -> None:
    """No file that holds a key, or the ledger, is open to others even for a moment."""
    shutil.rmtree(bot.config_dir / "keys", ignore_errors=True)
    watch = Watch(bot.config_dir, tmp_path / "notes")
    bot.fork_renew(*OFFLINE, before=watch.begin).check()
    bot.fork_renew("--force-renewal", *OFFLINE, before=watch.begin).check()
    seen = watch.seen()
    secret = [
        (mode, where)
        for mode, where in seen
        if where.startswith(("keys/", "pinkeep/")) and "/apache" not in where
    ]
    assert len(secret) >= 4  # three keys and the ledger
    assert {mode for mode, _ in secret} == {0o600}
    assert {mode for mode, where in seen if where == "keys"} == {0o700}
    ours = [each for each in seen if each[1].startswith(("keys", "csr", "pinkeep"))]
    assert [each for each in ours if each[0] & 0o022] == []
    check_closed(bot)


@LAB
def test_g7_the_watch_sees_what_is_open(bot: Bot, tmp_path: Path) -> None:
    """The counter-case: a file made for everybody is noted as such."""
    watch = Watch(bot.config_dir, tmp_path / "notes")

    def careless() -> None:
        watch.begin()
        (bot.config_dir / "keys").mkdir(exist_ok=True)
        (bot.config_dir / "keys" / "a").write_text("")
        os.close(os.open(bot.config_dir / "keys" / "b", os.O_CREAT | os.O_WRONLY, 0o666))

    bot.fork("certificates", before=careless).check()
    assert {(0o666, "keys/a"), (0o666, "keys/b")} <= set(watch.seen())


def test_g7_no_key_in_any_log(pinned: Pinned) -> None:
    """After all that can be done, failures and -vvv included, no log holds a private key."""
    bot = pinned.bot
    pinned.renew("-vvv")
    pinned.certonly("-d", NAME, "--new-key", "-vvv").check()
    bot.renew("--dry-run", *pinned.options).check()
    (bot.config_dir / "keys").chmod(0o755)
    said = bot.renew("-vvv", *pinned.options)
    assert said.returncode == 1
    (bot.config_dir / "keys").chmod(0o700)
    damaged = next(iter((bot.config_dir / "keys").glob("0002*")))
    good = damaged.read_text()
    damaged.write_text(good[:-40])
    said = bot.renew("-vvv", *pinned.options, "--pinkeep-max-age=1000")
    assert "PRIVATE" not in said.output
    assert good.splitlines()[1] not in said.output
    damaged.write_text(good)
    bot.renew("-vvv", *pinned.options).check()
    pinned.check_whole()
    logs = "".join(path.read_text() for path in bot.logs_dir.iterdir())
    assert "pinkeep" in logs
    for path in keys(bot).values():
        assert path.read_text().splitlines()[1] not in logs


@pytest.mark.parametrize("adopted", [False, True])
def test_g5_an_error_while_writing_leaves_everything_whole(bot: Bot, adopted: bool) -> None:
    """A disk that is full, at each place in turn: an error, no half-written file, then all well."""
    if adopted:
        bot.renew(*OFFLINE).check()
    scene = Scene(bot)
    pin = live_pin(bot, NAME)
    change = [*OFFLINE, "--pinkeep-max-age=86400", "--pinkeep-backup-keys=3"]
    for number in count(1):
        assert number < MANY
        scene.restore()
        done = bot.fork_renew(*change, before=partial(_full_disk, str(bot.config_dir), number))
        if not done.returncode and "No space left" not in done.output:
            break
        assert "No space left on device" in " ".join(done.output.split()), done.output
        assert "Traceback" not in done.output
        whole_or_absent(bot)
        bot.fork_renew(*change).check()
        assert live_pin(bot, NAME) == pin
    assert number > 3
    assert [name for name in tree(bot.config_dir) if ".pinkeep-" in name] == []


def whole_or_absent(bot: Bot) -> None:
    """No snippet, or one that is whole."""
    for path in (bot.config_dir / "pinkeep").glob("apache/*.conf"):
        assert set(pins_in(path)) <= set(keys(bot))


def _full_disk(folder: str, number: int) -> None:
    left = [number]
    real = os.fsync

    def fsync(descriptor: Any) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if path.startswith(folder) and not os.path.isdir(path):
            left[0] -= 1
            if not left[0]:
                raise OSError(28, "No space left on device", path)
        real(descriptor)

    setattr(os, "fsync", fsync)  # noqa: B010 - narrower than the type
