"""Reading and writing files: whole ones (G5), regular ones, and none that other users can change.

The rules:

* A file is written beside its place, flushed to the disk, and moved or linked into place; then its
  folder is flushed. A reader sees the old file or the new one, never a part.
* A temporary file has its final mode from its first byte (G7). What a kill left behind in certbot's
  folders is swept away by the next run that writes there. Elsewhere nothing is swept: what is there is
  not ours (G9).
* A numbered file is linked into place, which fails when the number is taken: nothing is ever
  overwritten.
* Every file is opened for reading here. Only a regular file of a sane size is read: a FIFO would
  hang certbot with its lock held, a device would eat the memory.
* A folder is made with its mode, whatever the umask says; so is each folder above it.
* What is believed is opened first, and looked at then (see ``trust``): what was looked at is what is read.
* Nothing is written to a FIFO that is somebody else's.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import re
import shutil
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

from certbot_pinkeep.core.errors import BadFolder
from certbot_pinkeep.storage import trust

#: Bytes that a file may have, e.g. a key or a script: a run keeps those in ``keys/`` and ``csr/`` in memory.
USUAL = 1 << 20
#: Bytes that a keyring file may have, with hundreds of lineages and years of history.
LARGEST = 1 << 26
#: What a file system without hard links answers.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
#: The name of a file that a process writes; earlier versions gave none but the process's number.
_TEMPORARY = re.compile(r"\.pinkeep-([0-9]+)(-[0-9a-f]{16})?")
#: The folders that this process has swept, and the last number that it gave in each of them.
_swept: set[str] = set()
_numbered: dict[tuple[str, str], int] = {}
_LOCK = ".lock"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


_changes = 0


def changes() -> int:
    """Count the changes of files that this process has made; caches do not count."""
    return _changes


def _count() -> None:
    global _changes
    _changes += 1


def read(path: str, largest: int = USUAL) -> bytes:
    """Read a regular file.

    :param largest: how many bytes it may have
    :raises OSError: if it cannot be read, is not a regular file, or is larger
    """
    descriptor = _opened(path)
    try:
        return _read(descriptor, path, largest)
    finally:
        os.close(descriptor)


def content(path: str) -> bytes:
    """Return what is in a regular file of a sane size; empty: it cannot be read."""
    try:
        return read(path)
    except OSError:
        return b""


def read_closed(path: str, trusted: Collection[int] = ()) -> bytes:
    """Read a regular file that other users can change neither itself nor on the way to it. It is looked
    at after it was opened, and what was looked at is what is read: nobody can swap them in between.

    :param trusted: as for :func:`trust.exposed`
    :raises ExposedFile: if others can
    :raises OSError: as :func:`read`
    """
    found = trust.exposed(path, trusted)
    if found is not None:  # it need not be there, nor be a file
        raise trust.ExposedFile(found)
    descriptor = _opened(path)
    try:
        found, reached = trust.looked_at(path, trusted)
        if found is not None:
            raise trust.ExposedFile(found)
        if reached is None or not os.path.samestat(reached, os.fstat(descriptor)):
            raise OSError(errno.EAGAIN, "it was replaced while it was opened", path)
        return _read(descriptor, path, LARGEST)
    finally:
        os.close(descriptor)


def read_own(path: str) -> bytes:
    """Read a regular file in a folder that is known to be closed: nobody else can change it, unless it is a
    link, or was made before the folder was closed.

    :raises OSError: as :func:`read`, and when others can change it
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if trust.is_exposed(os.fstat(descriptor), {0, os.geteuid()}):
            raise OSError(errno.EPERM, "other users can change it", path)
        return _read(descriptor, path, USUAL)
    finally:
        os.close(descriptor)


def _opened(path: str) -> int:
    try:
        # Without O_NONBLOCK, opening a FIFO waits until somebody writes to it.
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(errno.EINVAL, "it is a socket, not a regular file", path) from error
        raise


def _read(descriptor: int, path: str, largest: int) -> bytes:
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, not a regular file", path)
    content, part = bytearray(), 1 << 16  # a larger buffer takes longer than most files
    while chunk := os.read(descriptor, part):
        content += chunk
        if len(content) > largest:
            raise OSError(errno.EFBIG, f"it is larger than {largest} bytes", path)
    return bytes(content)


def stamp(path: str) -> tuple[int, ...] | None:
    """Return a value that differs when a file differs; ``None``: no file is there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_mode)


def replace(
    path: str,
    data: bytes,
    mode: int,
    *,
    sync: bool = True,
    owner: tuple[int, int] | None = None,
) -> None:
    """Put *data* at *path*, in place of what was there.

    :param mode: the permissions, e.g. ``0o600``
    :param sync: whether it has to outlast a power failure; what is a mere cache need not
    :param owner: the user and the group, if the system lets us choose them; ``None``: ours
    :raises OSError: if the folder is missing or cannot be written; the old file is still there
    """
    folder = os.path.dirname(path)
    _sweep_once(folder)
    with _temporary(folder, data, mode, sync=sync) as temporary:
        if owner is not None:
            with suppress(PermissionError):
                os.chown(temporary, *owner)
        os.replace(temporary, path)
    if sync:
        _sync_folder(folder)


def append(path: str, data: bytes, mode: int) -> None:
    """Add *data*, whole lines, at the end of the file at *path*. What a kill left of a line there ends
    before it.

    :param mode: of a file that is not there yet
    :raises OSError: if it cannot be written, or is no regular file
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, mode)
    with os.fdopen(descriptor, "ab") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", path)
        if found.st_size and os.pread(descriptor, 1, found.st_size - 1) != b"\n":
            file.write(b"\n")
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def put(path: str, data: bytes, mode: int) -> None:
    """Put *data* at *path* as :func:`replace` does, in a folder that is not certbot's.

    :raises OSError: if it cannot be written; what was there is still there
    """
    folder = os.path.dirname(path)
    with _temporary(folder, data, mode) as new:
        os.replace(new, path)
    _sync_folder(folder)


def write_through(path: str, data: bytes) -> None:
    """Write *data* to what is at *path* and is no regular file, say a device or a pipe. Not to somebody
    else's FIFO, which could keep us waiting for ever.

    :raises OSError: if it cannot be written
    """
    found = os.open(path, os.O_PATH | os.O_CLOEXEC)
    opened = f"/proc/self/fd/{found}"
    try:
        seen = os.fstat(found)
        # A pipe without a name is one that we were given, also if sudo's caller made it.
        named = stat.S_ISFIFO(seen.st_mode) and os.readlink(opened).startswith(os.sep)
        if named and seen.st_uid not in (0, os.geteuid()):
            told = f"it is a FIFO of the user {seen.st_uid}, which is not written to"
            raise OSError(errno.EPERM, told, path)
        # What was looked at is what is opened.
        descriptor = os.open(opened, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
    finally:
        os.close(found)
    _count()
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def create_numbered(
    folder: str,
    name: str,
    data: bytes,
    mode: int,
    taken: Collection[str] = (),
    *,
    sync: bool = True,
) -> str:
    """Save *data* as ``NNNN_name`` in *folder*, under the first number that is free, as certbot
    numbers its keys and CSRs.

    :param taken: names that are not to be used, though no file may be there
    :param sync: as for :func:`replace`
    :returns: the file's path
    :raises OSError: if the folder is missing or cannot be written
    """
    _sweep_once(folder)
    last = _numbered.get((folder, name))
    if last is None or not os.path.lexists(_numbered_path(folder, name, last)):
        used, first = {*taken, *os.listdir(folder)}, 0
    else:  # among thousands of files, looking for a gap below takes most of the time
        used, first = set(taken), last + 1
    with _temporary(folder, data, mode, sync=sync) as temporary:
        for number in itertools.count(first):
            path = _numbered_path(folder, name, number)
            if os.path.basename(path) in used:
                continue
            with suppress(FileExistsError):
                _place(temporary, path, mode)
                break
    _numbered[folder, name] = number
    if sync:
        _sync_folder(folder)
    else:
        _count()
    return path


def _place(temporary: str, path: str, mode: int) -> None:
    """Give a file its name, unless it is taken.

    :raises FileExistsError: if it is
    """
    try:
        os.link(temporary, path, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A file system without hard links: the name is taken first, by an empty file.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode))
        os.replace(temporary, path)


def _numbered_path(folder: str, name: str, number: int) -> str:
    return os.path.join(folder, f"{number:04d}_{name}")


def link(path: str, target: str) -> None:
    """Make the symbolic link *path*, which leads to *target*.

    :raises OSError: if something is there, or it cannot be made
    """
    os.symlink(target, path)
    _sync_folder(os.path.dirname(path))


def remove(path: str) -> None:
    """Remove the file at *path*."""
    os.unlink(path)
    _sync_folder(os.path.dirname(path))


@contextmanager
def _temporary(folder: str, data: bytes, mode: int, *, sync: bool = True) -> Iterator[str]:
    path = os.path.join(folder, f".pinkeep-{os.getpid()}-{os.urandom(8).hex()}")
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
    """Return whether a file of this name is one that is being written, or was left half-written."""
    return _TEMPORARY.fullmatch(name) is not None


def sweep(folder: str) -> None:
    """Remove what runs that were killed left half-written in *folder*."""
    for found in filter(None, map(_TEMPORARY.fullmatch, os.listdir(folder))):
        path = os.path.join(folder, found[0])
        if not _is_running(found[1]):
            with suppress(FileNotFoundError):
                if stat.S_ISREG(os.lstat(path).st_mode):
                    os.unlink(path)


def _sweep_once(folder: str) -> None:
    """Do the same, once in this process."""
    if folder not in _swept:
        sweep(folder)
        _swept.add(folder)


def _is_running(process: str) -> bool:
    return int(process) != os.getpid() and os.path.exists(f"/proc/{process}")


def _sync_folder(folder: str) -> None:
    _count()
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: str) -> Iterator[None]:
    """Hold the folder's lock: one process at a time works below it.

    The lock is a file that only its owner can open. A folder could be locked by everybody who may read it,
    and certbot would wait. So it would if the mode was changed, say by ``chmod -R``: such a lock is made
    anew.

    :raises OSError: if the lock cannot be had
    """
    descriptor = _lock(os.path.join(folder, _LOCK))
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(path: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    while True:
        descriptor = os.open(path, flags, 0o600)
        try:
            if not os.fstat(descriptor).st_mode & _OTHERS:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if _is_at(path, descriptor):
                    return descriptor
            elif _is_at(path, descriptor):
                os.unlink(path)  # who holds it may be anybody
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(path: str, descriptor: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    return False


def is_locked(folder: str) -> bool:
    """Return whether another process holds the folder's lock.

    :raises OSError: if the folder cannot be opened
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(os.path.join(folder, _LOCK), flags)
    except FileNotFoundError:
        return False
    try:
        # Shared, and given back at once. Others who look do not count. Those who work hardly wait.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def make_folder(path: str, mode: int) -> None:
    """Make the folder with this mode, and those above it with 0755, unless they are there.

    :raises OSError: if that cannot be done
    """
    if os.path.isdir(path):
        return
    above = os.path.dirname(os.path.abspath(path))
    if not os.path.lexists(above):
        make_folder(above, 0o755)
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
        return  # another run was faster
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, mode)  # whatever the umask says
    finally:
        os.close(descriptor)


def make_closed_folder(path: str) -> bool:
    """Make the folder with the mode 0700. One of ours that other users could write to is closed and
    emptied: what is in it may be theirs.

    :returns: whether it was emptied
    :raises OSError: if it cannot be made or closed
    """
    make_folder(path, 0o700)
    found = os.lstat(path)
    if (
        not stat.S_ISDIR(found.st_mode)
        or found.st_uid != os.geteuid()
        or not found.st_mode & trust.OTHERS_WRITE
    ):
        return False
    os.chmod(path, 0o700)  # first: nothing can be added any more
    for name in os.listdir(path):
        inside = os.path.join(path, name)
        if os.path.isdir(inside) and not os.path.islink(inside):
            shutil.rmtree(inside, ignore_errors=True)
        else:
            os.unlink(inside)
    return True


def check_folder(path: str, forbidden: int, advice: str) -> None:
    """See that a folder, if it exists, is ours and closed enough.

    :param forbidden: the permission bits that it must not have
    :param advice: the mode that it should have, as chmod takes it
    :raises BadFolder: if it is not
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode):
        raise BadFolder(
            f"{path} is not a folder.", "Move it away. pinkeep makes it anew if needed."
        )
    if found.st_uid != os.geteuid():
        raise BadFolder(
            f"The folder {path} belongs to the user {found.st_uid}. certbot runs as the user "
            f"{os.geteuid()}.",
            run=f"chown {os.geteuid()} {path}",
        )
    if found.st_mode & forbidden:
        raise BadFolder(
            f"The folder {path} has the mode {stat.S_IMODE(found.st_mode):04o}, "
            "and is open to other users.",
            run=f"chmod {advice} {path}",
        )
