"""What outlives the config dir: below certbot's work dir, copies of keyring files and a clock.

The rules:

* Each keyring file is copied right after it was written. If a copy is newer than the file, the file was lost,
  or an older one was put back (G8).
* The latest time at which pinkeep ran stays on record: a clock that says less runs backwards (G8). That time
  is written once a minute at most.
* A shadow is no more than that: if it is missing or cannot be written, the keyring file alone counts. So it
  does if other users can change the shadow or a folder above it; that is said.
* Its folders are closed. One of ours that other users could write to is emptied and closed.
* One work dir can serve several config dirs; each has a folder of its own there.
"""

from __future__ import annotations

import hashlib
import logging
import os
from datetime import datetime, timedelta

from certbot_pinkeep.core import times
from certbot_pinkeep.storage import atomic, trust

logger = logging.getLogger(__name__)

_TICK = timedelta(minutes=1)
_told: set[str] = set()


class Shadow:
    """The copies and the clock of one config dir.

    :param work_dir: certbot's ``--work-dir``
    :param config_dir: certbot's ``--config-dir``
    """

    def __init__(self, work_dir: str, config_dir: str) -> None:
        which = hashlib.sha256(os.path.realpath(config_dir).encode()).hexdigest()[:16]
        self.base = os.path.join(work_dir, "pinkeep")
        self.folder = os.path.join(self.base, which)

    def path(self, name: str) -> str:
        """Return the copy of the file of the keyring *name*."""
        return os.path.join(self.folder, f"{name}.conf")

    def names(self) -> list[str]:
        """Return the keyrings that have a copy."""
        try:
            listed = os.listdir(self.folder) if is_trusted(self.folder) else []
        except OSError:
            return []
        return [name[: -len(".conf")] for name in listed if name.endswith(".conf")]

    def read(self, name: str) -> bytes | None:
        """Return the copied content; ``None`` when there is none that can be read."""
        return _read(self.path(name))

    def copy(self, name: str, content: bytes) -> None:
        """Copy the content of a keyring file."""
        self._write(self.path(name), content)

    def latest(self) -> datetime | None:
        """Return the latest time at which pinkeep ran, to the minute; ``None`` while unknown."""
        written = _read(self._clock)
        try:
            return times.parse(written.decode().strip()) if written else None
        except ValueError:
            return None

    def tick(self, now: datetime) -> bool:
        """Note that *now* has been reached; whether that had to be written."""
        latest = self.latest()
        due = latest is None or now >= latest + _TICK
        if due:
            self.set_clock(now)
        return due

    def set_clock(self, now: datetime) -> None:
        """Note that *now* is now, whatever was noted before."""
        self._write(self._clock, f"{times.text(now)}\n".encode())

    @property
    def _clock(self) -> str:
        return os.path.join(self.folder, "clock")

    def _write(self, path: str, content: bytes) -> None:
        try:
            make_base(self.base)
            atomic.make_closed_folder(self.folder)
            if is_trusted(self.folder):
                atomic.replace(path, content, 0o600, sync=False)  # the file itself outlasts that
        except OSError as error:
            logger.debug("%s cannot be written: %s", path, error)


def make_base(folder: str) -> None:
    """Make the folder of all copies and caches below a work dir.

    :raises OSError: if that cannot be done
    """
    if atomic.make_closed_folder(folder):
        logger.warning(
            "Other users could write to %s. pinkeep has closed and emptied that folder. pinkeep makes the "
            "copies and caches anew.",
            folder,
        )


def is_trusted(path: str) -> bool:
    """Return whether only root and we can change what is at *path*; if not, that is told once."""
    found = trust.exposed(path)
    if found is not None:
        _tell(path, found)
    return found is None


def _tell(path: str, found: trust.Exposed) -> None:
    if found.path not in _told:
        _told.add(found.path)
        logger.warning(
            "pinkeep does not use its copies and caches in %s: %s.\nRun: %s",
            os.path.dirname(path),
            found,
            found.mend,
        )


def _read(path: str) -> bytes | None:
    try:
        return atomic.read_closed(path)
    except trust.ExposedFile as error:
        _tell(path, error.found)
    except OSError:
        pass  # there is none, or none that can be read
    return None
