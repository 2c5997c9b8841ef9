"""Whether other users can change a file, or what is on the way to it.

The rules:

* Only root and the user who runs this may be able to change what is believed: each folder and link
  from ``/`` down to the file, and the file itself. Everything else is as if it was not there.
* In a folder with the sticky bit nobody can replace what is another user's.
* If something is to be written, only root's links and ours are followed.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_MOST_LINKS = 40
#: Paths that a command lists.
_MOST_LISTED = 8


@dataclass(frozen=True)
class Exposed:
    """What other users can change.

    :ivar path: a folder, a link or a file
    :ivar mode: its permission bits
    :ivar owner: the user whose it is
    :ivar needed: what is to be done with it, as commands without the path
    """

    path: str
    mode: int
    owner: int
    needed: tuple[str, ...]

    @property
    def mend(self) -> str:
        """The command that closes it."""
        return mend_all([self])

    def __str__(self) -> str:
        return f"other users can change {self.path} (mode {self.mode:04o}, user {self.owner})"


def exposed(path: str, trusted: Collection[int] = ()) -> Exposed | None:
    """Return what other users can change of the way from ``/`` to *path*; ``None``: nothing that is
    there.

    :param trusted: users who count as the one who runs this
    """
    return looked_at(path, trusted)[0]


class ExposedFile(OSError):
    """A file that is not believed.

    :ivar found: what other users can change
    """

    def __init__(self, found: Exposed) -> None:
        super().__init__(errno.EPERM, str(found), found.path)
        self.found = found


def looked_at(path: str, trusted: Collection[int]) -> tuple[Exposed | None, os.stat_result | None]:
    """Return what other users can change of the way, and where it ends; ``None``: nothing is there."""
    users = {0, os.geteuid(), *trusted}
    found = None
    try:
        for reached, found in _way(path):
            if found is not None and is_exposed(found, users):
                return _exposed(reached, found), found
    except OSError:
        return None, None
    return None, found


def all_exposed(paths: Iterable[str], trusted: Collection[int] = ()) -> list[Exposed]:
    """Return what other users can change of the ways from ``/`` to these paths.

    :param trusted: as for :func:`exposed`
    """
    users = {0, os.geteuid(), *trusted}
    found: dict[str, Exposed] = {}
    for path in paths:
        with suppress(OSError):
            for reached, stated in _way(path):
                if stated is not None and is_exposed(stated, users):
                    found[reached] = _exposed(reached, stated)
    return list(found.values())


def mend_all(found: Sequence[Exposed], folder: str = "") -> str:
    """Return the one command that closes all of it.

    :param folder: if there is too much to list, all that is in it is closed
    """
    inside = [one for one in found if folder and f"{one.path}/".startswith(f"{folder}/")]
    many = len(inside) > _MOST_LISTED
    listed = [one for one in found if not many or one not in inside]
    commands = []
    for needed in sorted({needed for one in found for needed in one.needed}, reverse=True):
        paths = [one.path for one in listed if needed in one.needed]
        if paths:
            commands.append(f"{needed} {shlex.join(paths)}")
        if many and any(needed in one.needed for one in inside):
            program, _, rest = needed.partition(" ")
            commands.append(f"{program} -R {rest} {shlex.quote(folder)}")
    return " && ".join(commands)


def is_exposed(found: os.stat_result, users: Collection[int]) -> bool:
    """Return whether others than these users can change what was found."""
    open_to_all = found.st_mode & OTHERS_WRITE and not stat.S_ISLNK(found.st_mode)
    if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX:
        open_to_all = False
    return bool(found.st_uid not in users or open_to_all)


def resolved(path: str) -> str:
    """Return the file that *path* leads to, which may not be there yet. Only root's links and ours are
    followed: in a folder like ``/tmp`` anybody can put one.

    :raises OSError: if another user's link is on the way, or the folder is not there
    """
    reached = path
    for reached, found in _way(path):
        if found is None or not stat.S_ISLNK(found.st_mode):
            continue
        if found.st_uid not in (0, os.geteuid()):
            told = f"{reached} is a link of the user {found.st_uid}, which is not followed"
            raise OSError(errno.EPERM, told, path)
    return reached


def _way(path: str) -> Iterator[tuple[str, os.stat_result | None]]:
    """Yield each folder and link from ``/`` down to *path*, and what is there. The last of them need not
    be there.

    :raises OSError: if the way ends before
    """
    todo = _parts(os.path.join(os.getcwd(), path))
    reached, links = os.sep, 0
    while True:
        try:
            found = os.lstat(reached)
        except FileNotFoundError:
            if todo:
                raise
            yield reached, None
            return
        yield reached, found
        if stat.S_ISLNK(found.st_mode):
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = os.readlink(reached)
            todo += _parts(target)
            reached = os.sep if os.path.isabs(target) else os.path.dirname(reached)
        if not todo:
            return
        # There is no link in what was reached.
        part = todo.pop()
        if part == os.pardir:
            reached = os.path.dirname(reached)
        elif part != os.curdir:
            reached = f"{'' if reached == os.sep else reached}{os.sep}{part}"


def _parts(path: str) -> list[str]:
    return [part for part in reversed(path.split(os.sep)) if part]


def _exposed(path: str, found: os.stat_result) -> Exposed:
    mode = stat.S_IMODE(found.st_mode)
    needed = []
    if found.st_uid not in (0, os.geteuid()):
        needed.append(f"chown -h {os.geteuid()}")
    if mode & OTHERS_WRITE and not stat.S_ISLNK(found.st_mode):
        needed.append("chmod go-w")
    return Exposed(path, mode, found.st_uid, tuple(needed))
