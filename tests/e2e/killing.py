"""Show what a kill at any moment leaves behind, and bring it back to be mended (G5).

A process that is killed leaves what is on the disk at that moment, and nothing else. So one run is
enough: right before each step that changes a file, the folders are copied.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable
from functools import partial, wraps
from itertools import count
from pathlib import Path
from typing import Any

import certbot.compat.os

from e2e.world import NAME, Bot, Pinned, key_pin, keys, pins_in, tree
from lab import Wget2

STEPS = ("replace", "rename", "link", "unlink", "symlink", "mkdir", "rmdir", "fsync", "open")
FOLDERS = ("config", "work")

#: Of each file: its name, its mode, whether it is empty, and what it was written for.
Looks = list[tuple[str, int, bool, str]]


class Scene:
    """A certbot's folders as they are now, or as they are saved, to come back to."""

    def __init__(self, bot: Bot, saved: Path | None = None) -> None:
        self._bot = bot
        self._saved = saved or bot.folder.with_name("saved")
        if saved is None:
            _copy(bot.folder, self._saved)

    def restore(self) -> None:
        """Come back."""
        for name in FOLDERS:
            shutil.rmtree(self._bot.folder / name, ignore_errors=True)
        _copy(self._saved, self._bot.folder)


def moments(bot: Bot, *args: str) -> list[Scene]:
    """Run ``certbot ARGS`` to its end; give the moment before each of its steps.

    The moment after a step is the moment before the next one. A moment that looks like the one
    before is left out.
    """
    folder = bot.folder.with_name("moments")
    bot.fork(*args, before=partial(copy_before_each_step, bot.folder, folder)).check()
    found: list[Scene] = []
    looks: Looks = []
    for saved in sorted(folder.iterdir(), key=lambda path: int(path.name)):
        seen, looks = looks, left_behind(saved)
        if looks != seen:
            found.append(Scene(bot, saved))
    return found


def copy_before_each_step(folder: Path, target: Path) -> None:
    """Have this process copy what is in the folder right before each step that changes a file."""
    numbers = count(1)
    below = tuple(str(folder / name) for name in FOLDERS)
    copying = False

    def step(real: Callable[..., Any], name: str, *args: Any, **named: Any) -> Any:
        nonlocal copying
        if not copying and _changes(name, args, named, below):
            copying = True
            _copy(folder, target / str(next(numbers)))
            copying = False
        return real(*args, **named)

    for name in STEPS:
        real: Callable[..., Any] = getattr(os, name)
        for module in (os, certbot.compat.os):
            if getattr(module, name, None) is real:
                setattr(module, name, wraps(real)(partial(step, real, name)))


def _copy(source: Path, target: Path) -> None:
    for name in FOLDERS:
        if (source / name).exists():
            shutil.copytree(source / name, target / name, symlinks=True)


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


def left_behind(folder: Path) -> Looks:
    """Say what is there, but for what is made at random: each file, and what it was written for."""
    found = []
    files = {**tree(folder / "config"), **tree(folder / "work")}
    for where, (mode, _, content) in sorted(files.items()):
        written = re.findall(rb"^saved = .*$", content, re.MULTILINE)
        link = content.decode() if stat.S_ISLNK(mode) else ""
        name = re.sub(r"/\.pinkeep-.*", "/unfinished", where)
        found.append((name, mode, content == b"", f"{link}{written}"))
    return found


def saved_keys(bot: Bot) -> set[str]:
    """Give the pins of all key files; a temporary file is none."""
    folder = bot.config_dir / "keys"
    if not folder.exists():
        return set()
    return {key_pin(path) for path in folder.iterdir() if not path.name.startswith(".")}


def visible(site: Pinned) -> tuple[object, ...]:
    """Say what Apache would load now: the certificate, its key, and how many snippets."""
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
    """Assert that a kill left whole files, and published no pin that is not on record."""
    for path in (bot.config_dir / "pinkeep").glob("apache/*.conf"):
        assert len(pins_in(path)) == 3
        record = path.parents[1] / path.name
        assert record.exists()
        assert all(pin in record.read_text() for pin in pins_in(path))
        assert path.read_text().endswith("\n")
        assert set(pins_in(path)) <= set(keys(bot))
    for path in (bot.config_dir / "csr").glob("[0-9]*.pem"):
        assert path.read_text().endswith("-----END CERTIFICATE REQUEST-----\n")
