"""Killed at any moment, and watched at every moment: G5 and G7."""

from __future__ import annotations

import builtins
import io
import os
import shutil
import signal
from collections.abc import Callable
from functools import partial, wraps
from itertools import count
from pathlib import Path
from typing import Any

import certbot.compat.os
import pytest

from e2e.world import (
    NAME,
    OFFLINE,
    Bot,
    Pinned,
    check_closed,
    key_pin,
    keys,
    live_pin,
    pins_in,
    tree,
)
from lab import Wget2

STEPS = ("replace", "rename", "link", "unlink", "symlink", "mkdir", "rmdir", "fsync", "open")
NEVER = 300
KILLED = -signal.SIGKILL

NewcomerMaker = Callable[[], Wget2]


def kill_before_step(folders: tuple[str, ...], number: int) -> None:
    """Kill this process right before its ``number``-th step that changes a file in the folders.

    The moment after a step is the moment before the next one.
    """
    left = [number]
    for name in STEPS:
        real: Callable[..., Any] = getattr(os, name)
        step = partial(_step, real, name, folders, left)
        for module in (os, certbot.compat.os):
            if getattr(module, name, None) is real:
                setattr(module, name, wraps(real)(step))


def _step(
    real: Callable[..., Any],
    name: str,
    folders: tuple[str, ...],
    left: list[int],
    *args: Any,
    **named: Any,
) -> Any:
    if _changes(name, args, named, folders):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **named)


def _changes(
    name: str, args: tuple[Any, ...], named: dict[str, Any], folders: tuple[str, ...]
) -> bool:
    if name == "fsync":
        paths = [os.readlink(f"/proc/self/fd/{args[0]}")]
    elif name == "open":
        flags = args[1] if len(args) > 1 else named.get("flags", 0)
        if not flags & os.O_CREAT:
            return False
        paths = [os.fspath(args[0])]
    else:
        paths = [os.fspath(each) for each in args if isinstance(each, (str, os.PathLike))]
    return any(
        str(path).startswith(folders) and not str(path).endswith(".certbot.lock") for path in paths
    )


class Scene:
    """A certbot's folders as they are now, to come back to."""

    def __init__(self, bot: Bot) -> None:
        self._bot = bot
        self._saved = bot.folder.with_name("saved")
        for name in ("config", "work"):
            (bot.folder / name).mkdir(exist_ok=True)
            shutil.copytree(bot.folder / name, self._saved / name, symlinks=True)

    def restore(self) -> None:
        """Come back."""
        for name in ("config", "work"):
            shutil.rmtree(self._bot.folder / name)
            shutil.copytree(self._saved / name, self._bot.folder / name, symlinks=True)


def saved_keys(bot: Bot) -> set[str]:
    """The pins of all key files; a temporary file is none."""
    folder = bot.config_dir / "keys"
    if not folder.exists():
        return set()
    return {key_pin(path) for path in folder.iterdir() if not path.name.startswith(".")}


def survive(site: Pinned, newcomer: NewcomerMaker, *args: str) -> int:
    """Kill ``certbot renew ARGS`` before each of its steps; return how many those are.

    Right after a kill Apache is reloaded, as logrotate does it at night, and somebody visits for
    the first time. Then a plain `certbot renew` must bring everything into step, and that visitor
    must be served still. Where a kill leaves what the one before it left, visitors need not come.
    """
    bot = site.bot
    pin = site.live_pin
    scene = Scene(bot)
    folders = (str(bot.config_dir), str(bot.work_dir))
    left = None
    for number in count(1):
        assert number < NEVER
        scene.restore()
        done = bot.fork_renew(*args, before=partial(kill_before_step, folders, number))
        if done.returncode != KILLED:
            done.check()
            site.check_whole()
            return number - 1
        before = saved_keys(bot)
        whole_files(bot)
        left, earlier = visible(site), left
        guest = None if left == earlier else Guest(site, newcomer())

        if bot.fork_renew(*OFFLINE).returncode:
            bot.fork_renew(*OFFLINE).check()

        site.check_whole()
        assert site.live_pin == pin, number
        assert before <= saved_keys(bot)
        if guest:
            guest.come_back()
    raise AssertionError


def visible(site: Pinned) -> tuple[object, ...]:
    """What Apache would load now: the certificate, its key, and how many snippets."""
    links = [path.readlink().name for path in sorted(site.bot.live(NAME).glob("*.pem"))]
    return (*links, site.snippet.exists())


class Guest:
    """A visitor who comes at the worst moment, and comes back when all is well again."""

    def __init__(self, site: Pinned, visitor: Wget2) -> None:
        self._site = site
        self._visitor = visitor
        # Certbot moves its four links one by one: Apache does not load a part of them.
        if not site.server.configtest().returncode:
            site.server.reload()
        assert visitor.visit(site.url).accepted
        self._promised = set(visitor.noted(NAME))

    def come_back(self) -> None:
        """Visit again, after Apache was reloaded."""
        site = self._site
        assert self._promised <= set(keys(site.bot))
        site.server.reload()
        assert site.server.served_pin(NAME) == site.live_pin
        assert len(site.server.get(NAME).pins) == 1
        assert self._visitor.visit(site.url).accepted


def whole_files(bot: Bot) -> None:
    """What a kill left: whole files, and no pin that is published but not on record."""
    for path in (bot.config_dir / "pinkeep").glob("apache/*.conf"):
        assert len(pins_in(path)) == 3
        record = path.parents[1] / path.name
        assert record.exists()
        assert all(pin in record.read_text() for pin in pins_in(path))
        assert path.read_text().endswith("\n")
        assert set(pins_in(path)) <= set(keys(bot))
    for path in (bot.config_dir / "csr").glob("[0-9]*.pem"):
        assert path.read_text().endswith("-----END CERTIFICATE REQUEST-----\n")


def test_g5_killed_at_each_step_of_an_adoption(site: Pinned, newcomer: NewcomerMaker) -> None:
    """No key is lost, no file is half-written, nobody is locked out; the next run completes it."""
    assert survive(site, newcomer, *OFFLINE) > 20


def test_g5_killed_at_each_step_of_a_renewal(pinned: Pinned, newcomer: NewcomerMaker) -> None:
    """The same for a forced renewal that stages another backup on its way."""
    pinned.bot.renew(*OFFLINE).check()
    more = ["--force-renewal", *OFFLINE]
    assert survive(pinned, newcomer, *more) > 10


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
        assert number < NEVER
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
