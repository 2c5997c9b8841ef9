"""Temporary files are kept in memory, if there is room: a disk takes a tenth of the tests' time. The
``conftest.py`` of a folder of tests imports this."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from contextlib import suppress

_MEMORY = "/dev/shm"
#: Bytes: several times what all the tests write.
_ROOM = 1 << 29


def _is_usable(folder: str) -> bool:
    """Whether there is room, and what is there can be run."""
    with suppress(OSError):
        found = os.statvfs(folder)
        has_room = found.f_bavail * found.f_frsize > _ROOM
        return has_room and not found.f_flag & os.ST_NOEXEC and os.access(folder, os.W_OK)
    return False


def _removed(folder: str, pid: int) -> None:
    if os.getpid() == pid:  # no fork
        shutil.rmtree(folder, ignore_errors=True)


# The processes that pytest starts have its choice already.
if "TMPDIR" not in os.environ and _is_usable(_MEMORY):
    os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="tests-", dir=_MEMORY)
    atexit.register(_removed, tempfile.tempdir, os.getpid())
