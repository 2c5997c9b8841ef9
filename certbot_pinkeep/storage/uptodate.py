"""The cache that tells at a glance that a lineage is up to date: ``certbot renew`` looks at all, twice a day.

The rules:

* A note holds the state (by ``stat``) of every file of the last run, and the options that count. While no
  file and no given option differs, a run would change nothing, and is left out. What is not given is in the
  keyring file, which is one of those files.
* A keyring with hundreds of lineages has hundreds of files. So the files of the keyring stand in the note of
  one lineage; the notes of the others name that lineage, and the mark of what stands there.
* Of a folder its owner and mode are looked at; if its path ends with a slash, also whether files in it were
  added, removed or replaced.
* One more file has the certificates of all lineages, to tell which of them are others than before. Another
  one has the lineages of all keyrings, and a third one what the CAs said of revocations.
* Notes are a cache below certbot's work dir. A missing or unreadable one, and one that other users
  can change, costs a full run only.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, TypedDict

from certbot_pinkeep.storage import atomic, shadow

_VERSION = 4
#: The files for all lineages: the certificates by lineage, the lineages of each keyring, and what the CAs
#: have said by the fingerprints of certificates. The lineages' own files end with ``.json``.
CERTIFICATES, KEYRINGS, REVOCATIONS = "certificates", "keyrings", "revocations"

Seen = dict[str, "list[int] | None"]


class Note(NamedTuple):
    """What a lineage has in its note: the options that count for it, and its own files."""

    options: Mapping[str, object]
    paths: Iterable[str]


class Noted(TypedDict):
    """The lineages that draw on a keyring, and the files that say it as they were then."""

    files: Seen
    lineages: list[str]


class UpToDate:
    """The notes below one work dir.

    :param work_dir: certbot's ``--work-dir``
    :ivar is_frozen: whether nothing is noted, because the run is a dry one
    """

    def __init__(self, work_dir: str) -> None:
        self.folder = os.path.join(work_dir, "pinkeep")
        self.is_frozen = False
        self._trusted: bool | None = None

    def is_up_to_date(
        self,
        lineage: str,
        given: Mapping[str, object],
        watched: Iterable[str],
        known: dict[str, str] | None = None,
    ) -> bool:
        """Return whether nothing differs from what was noted.

        :param given: options; ``None``: not given
        :param watched: files that must be among the noted ones: those of the live certificate
        :param known: what was found of the files of keyrings, which are looked at once while it is the same
        """
        try:
            if self._trusted is None:  # once a run: nobody else can change that
                self._trusted = shadow.is_trusted(self.folder)
            if not self._trusted:
                return False
            note = self._read(lineage)
            return bool(
                _plain(given).items() <= note["options"].items()
                and set(watched) <= note["files"].keys()
                and _is_same(note["files"])
                and self._mark(lineage, note, {} if known is None else known) == note["mark"]
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return False

    def _read(self, lineage: str) -> dict[str, Any]:
        note = json.loads(atomic.read_own(self._path(lineage)))
        if note["version"] != _VERSION:
            raise ValueError("it has another version")
        return dict(note)

    def _mark(self, lineage: str, note: dict[str, Any], known: dict[str, str]) -> str:
        """Return the mark of the keyring's files, which *lineage*'s note leads to; empty: one differs."""
        holder = str(note["holder"])
        if holder not in known:
            known[holder] = ""
            held = note if holder == lineage else self._read(holder)
            known[holder] = str(held["mark"]) if _is_same(held["shared"]) else ""
        return known[holder]

    def set(self, notes: Mapping[str, Note], shared: Iterable[str]) -> None:
        """Note that lineages of one keyring are up to date.

        :param notes: by lineage
        :param shared: the files of all of them
        :raises OSError: if this cannot be written
        """
        together = seen(shared)
        mark = hashlib.sha256(json.dumps(together, sort_keys=True).encode()).hexdigest()
        holder = next(iter(notes), "")
        for lineage, (options, paths) in notes.items():
            note = {
                "version": _VERSION,
                "options": _plain(options),
                "files": seen(paths),
                "holder": holder,
                "mark": mark,
            }
            held = {"shared": together} if lineage == holder else {}
            self._write(self._path(lineage), {**note, **held})

    def clear(self, lineage: str) -> None:
        """Forget the note, so that the next run looks at everything."""
        with suppress(FileNotFoundError):
            os.unlink(self._path(lineage))

    def noted(self, name: str) -> dict[str, Any]:
        """Return what :meth:`note` noted, in a file for all lineages; empty: nothing that can be trusted."""
        path = os.path.join(self.folder, name)
        try:
            if not shadow.is_trusted(path):
                return {}
            found = json.loads(atomic.read_closed(path))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def note(self, name: str, found: Mapping[str, object]) -> None:
        """Note something of all lineages: :data:`CERTIFICATES`, :data:`KEYRINGS` or :data:`REVOCATIONS`."""
        with suppress(OSError):  # the next run looks at everything
            if not self.is_frozen and found != self.noted(name):
                self._write(os.path.join(self.folder, name), found)

    def _write(self, path: str, content: Mapping[str, object]) -> None:
        shadow.make_base(self.folder)
        if shadow.is_trusted(self.folder):
            atomic.replace(path, json.dumps(content, sort_keys=True).encode(), 0o600, sync=False)

    def _path(self, lineage: str) -> str:
        return os.path.join(self.folder, f"{lineage}.json")


def seen(paths: Iterable[str]) -> Seen:
    """Look at the state of files; ``None``: one is not there."""
    return {path: _stat(path) for path in paths}


def _is_same(files: Seen) -> bool:
    return all(_stat(path) == before for path, before in files.items())


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
