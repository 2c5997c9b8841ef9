"""The cache that tells at a glance that a lineage is up to date: ``certbot renew`` looks at all, twice a day.

The rules:

* A stamp holds the state (as ``stat`` sees it) of every file that the last run looked at, and the options
  that count. While no file differs, and no option is given that differs, a run would change nothing, and
  is left out. What is not given is in the keyring file, which is one of those files.
* Of a folder its owner and mode are looked at; where its path ends with a slash, also whether files
  in it came, went or were replaced.
* One more file has the certificates of all lineages, to tell which of them are others than before. Another
  one has the lineages of all keyrings, and a third one what the CAs said of revocations.
* Stamps are a cache below certbot's work dir. A missing or unreadable one, and one that other users
  can change, costs a full run only.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, TypedDict

from certbot_pinkeep.storage import atomic, shadow

_VERSION = 3


class Noted(TypedDict):
    """The lineages that draw on a keyring, and the files that say it as they were then."""

    files: dict[str, list[int] | None]
    lineages: list[str]


class UpToDate:
    """The stamps below one work dir.

    :param work_dir: certbot's ``--work-dir``
    """

    def __init__(self, work_dir: str) -> None:
        self.folder = os.path.join(work_dir, "pinkeep")
        self._trusted: bool | None = None

    def is_up_to_date(
        self, lineage: str, given: Mapping[str, object], watched: Iterable[str]
    ) -> bool:
        """Return whether nothing differs from what was stamped.

        :param given: options; ``None``: not given
        :param watched: files that must be among the stamped ones: those of the live certificate
        """
        try:
            if self._trusted is None:  # once a run: nobody else can change that
                self._trusted = shadow.is_trusted(self.folder)
            if not self._trusted:
                return False
            stamp = json.loads(atomic.read_own(self._path(lineage), atomic.MEDIUM))
            return bool(
                stamp["version"] == _VERSION
                and _plain(given).items() <= stamp["options"].items()
                and set(watched) <= stamp["files"].keys()
                and all(_stat(name) == before for name, before in stamp["files"].items())
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return False

    def set(self, lineage: str, options: Mapping[str, object], paths: Iterable[str]) -> None:
        """Note that the lineage is up to date with these files, and with these options, which count for it.

        :raises OSError: if this cannot be written
        """
        stamp = {"version": _VERSION, "options": _plain(options), "files": seen(paths)}
        self._write(self._path(lineage), stamp)

    def clear(self, lineage: str) -> None:
        """Forget the stamp, so that the next run looks at everything."""
        with suppress(FileNotFoundError):
            os.unlink(self._path(lineage))

    def certificates(self) -> dict[str, object]:
        """Return the certificates as :meth:`set_certificates` noted them, by lineage."""
        return self._read("certificates")

    def set_certificates(self, found: Mapping[str, object]) -> None:
        """Note the certificates of this run."""
        self._note("certificates", found)

    def enrolled(self) -> dict[str, Noted]:
        """Return what :meth:`set_enrolled` noted, by keyring."""
        return self._read("keyrings")

    def set_enrolled(self, found: Mapping[str, Noted]) -> None:
        """Note the lineages that draw on each keyring."""
        self._note("keyrings", found)

    def revocations(self) -> dict[str, Any]:
        """Return what :meth:`set_revocations` noted, by the fingerprints of certificates."""
        return self._read("revocations")

    def set_revocations(self, found: Mapping[str, object]) -> None:
        """Note what the CAs have said of certificates."""
        self._note("revocations", found)

    def _read(self, name: str) -> dict[str, Any]:
        """Read a file for all lineages. Their own ones end with ``.json``."""
        path = os.path.join(self.folder, name)
        try:
            if not shadow.is_trusted(path):
                return {}
            noted = json.loads(atomic.read_closed(path, atomic.LARGE))
        except (OSError, ValueError, RecursionError):
            return {}
        return noted if isinstance(noted, dict) else {}

    def _note(self, name: str, found: Mapping[str, object]) -> None:
        with suppress(OSError):  # the next run looks at everything
            if found != self._read(name):
                self._write(os.path.join(self.folder, name), found)

    def _write(self, path: str, content: Mapping[str, object]) -> None:
        shadow.make_base(self.folder)
        if shadow.is_trusted(self.folder):
            atomic.replace(path, json.dumps(content, sort_keys=True).encode(), 0o600, sync=False)

    def _path(self, lineage: str) -> str:
        return os.path.join(self.folder, f"{lineage}.json")


def seen(paths: Iterable[str]) -> dict[str, list[int] | None]:
    """Look at the state of files; ``None``: one is not there."""
    return {path: _stat(path) for path in paths}


def _plain(options: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in options.items() if value is not None}


def _stat(path: str) -> list[int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    if path.endswith(os.sep):
        return [found.st_mode, found.st_uid, found.st_mtime_ns]
    if stat.S_ISDIR(found.st_mode):
        return [found.st_mode, found.st_uid]  # what is in a folder changes with other lineages
    return [
        found.st_mtime_ns,
        found.st_ctime_ns,
        found.st_size,
        found.st_ino,
        found.st_mode,
        found.st_uid,
    ]
