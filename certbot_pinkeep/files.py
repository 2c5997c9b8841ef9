"""Writing files so that a kill at any moment leaves whole ones (G5).

The rules:

* A file is written beside its place, flushed to the disk, and moved or linked into place; then its
  folder is flushed. A reader sees the old file or the new one, never a part.
* A temporary file has its final mode from its first byte (G7). What a kill left behind in certbot's
  folders is swept away by the next run that writes there. Elsewhere nothing is swept: what is there is
  not ours (G9).
* A numbered file is linked into place, which fails when the number is taken: nothing is ever
  overwritten.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import secrets
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

from certbot_pinkeep.errors import BadFolder

_TEMPORARY = ".pinkeep-"


def replace(path: str, data: bytes, mode: int, sync: bool = True) -> None:
    """Put *data* at *path*, in place of what was there.

    :param mode: the permissions, e.g. ``0o600``
    :param sync: whether it has to outlast a power failure; what is a mere cache need not
    :raises OSError: when the folder is missing or cannot be written; the old file is still there
    """
    folder = os.path.dirname(path)
    sweep(folder)
    with _temporary(folder, data, mode, sync) as temporary:
        os.replace(temporary, path)
    if sync:
        _sync_folder(folder)


def put(path: str, data: bytes, mode: int) -> None:
    """Put *data* at *path* as :func:`replace` does, in a folder that is not certbot's.

    :raises OSError: when it cannot be written; what was there is still there
    """
    folder = os.path.dirname(path)
    with _temporary(
        folder, data, mode, sync=True, name=f"{_TEMPORARY}{secrets.token_hex(8)}"
    ) as new:
        os.replace(new, path)
    _sync_folder(folder)


def create_numbered(
    folder: str, name: str, data: bytes, mode: int, taken: Collection[str] = ()
) -> str:
    """Save *data* as ``NNNN_name`` in *folder*, under the first number that is free, as certbot
    numbers its keys and CSRs.

    :param taken: names that are not to be used, though no file may be there
    :returns: the file's path
    :raises OSError: when the folder is missing or cannot be written
    """
    sweep(folder)
    with _temporary(folder, data, mode) as temporary:
        used = {*taken, *os.listdir(folder)}
        for number in itertools.count():
            numbered = f"{number:04d}_{name}"
            if numbered in used:
                continue
            path = os.path.join(folder, numbered)
            with suppress(FileExistsError):
                os.link(temporary, path, follow_symlinks=False)
                break
    _sync_folder(folder)
    return path


def remove(path: str) -> None:
    """Remove the file at *path*."""
    os.unlink(path)
    _sync_folder(os.path.dirname(path))


@contextmanager
def _temporary(
    folder: str, data: bytes, mode: int, sync: bool = True, name: str = ""
) -> Iterator[str]:
    path = os.path.join(folder, name or f"{_TEMPORARY}{os.getpid()}")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)  # whatever the umask says
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        yield path
    finally:
        with suppress(FileNotFoundError):  # moved into place
            os.unlink(path)


def is_temporary(name: str) -> bool:
    """Whether a file of this name is one that is being written, or was left half-written."""
    process = name.removeprefix(_TEMPORARY)
    return process != name and process.isascii() and process.isdigit()


def sweep(folder: str) -> None:
    """Remove what runs that were killed left half-written in *folder*."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if is_temporary(name) and not _is_running(name.removeprefix(_TEMPORARY)):
            with suppress(FileNotFoundError):
                if stat.S_ISREG(os.lstat(path).st_mode):
                    os.unlink(path)


def _is_running(process: str) -> bool:
    return int(process) != os.getpid() and os.path.exists(f"/proc/{process}")


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: str) -> Iterator[None]:
    """Hold the folder's lock: one process at a time works below it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def is_locked(folder: str) -> bool:
    """Whether another process holds the folder's lock.

    :raises OSError: when the folder cannot be opened
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Shared, and given back at once: who looks at the same time does not count, who works waits
        # for a moment at most.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def make_folder(path: str, mode: int) -> None:
    """Make the folder, and those above it, unless it is there."""
    os.makedirs(path, mode, exist_ok=True)


def check_folder(path: str, forbidden: int, advice: str) -> None:
    """See that a folder, where it exists, is ours and closed enough.

    :param forbidden: the permission bits that it must not have
    :param advice: the mode that it should have, as chmod takes it
    :raises BadFolder: when it is not
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode):
        raise BadFolder(f"{path} is not a folder. Move it away; it is made anew when needed.")
    if found.st_uid != os.geteuid():
        raise BadFolder(
            f"The folder {path} belongs to user {found.st_uid}, not to the user {os.geteuid()} "
            f"who runs certbot. Nothing was written. Run: chown {os.geteuid()} {path}"
        )
    if found.st_mode & forbidden:
        raise BadFolder(
            f"The folder {path} has the mode {stat.S_IMODE(found.st_mode):04o} and is open to "
            f"other users. Nothing was written. Run: chmod {advice} {path}"
        )
