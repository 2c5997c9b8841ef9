"""Notes: nothing is looked at again while nothing differs, and everything when anything does."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from certbot_pinkeep.storage.uptodate import Note, UpToDate

OPTIONS: dict[str, object] = {"max-age": "60", "keyring": None}


class Noted:
    """A lineage that is noted with its file, and with a file and a folder that it shares with another."""

    def __init__(self, root: Path) -> None:
        self.notes = UpToDate(str(root / "work"))
        self.cert = root / "cert.pem"
        self.cert.write_text("one")
        self.snippet = root / "snippet.conf"
        self.snippet.write_text("one")
        self.folder = root / "csr"
        self.folder.mkdir()
        self.file = root / "work" / "pinkeep" / "example.com.json"
        self.holder = self.file.with_name("another.com.json")
        self.set("another.com", "example.com")

    def set(self, *lineages: str, **more: object) -> None:
        """Note lineages together."""
        note = Note({**OPTIONS, **more}, [str(self.cert)])
        shared = [str(self.snippet), str(self.folder)]
        self.notes.set(dict.fromkeys(lineages, note), shared)

    def change_and_set(self, lineage: str) -> None:
        """Change a file that is shared, and note only one of the two."""
        self.snippet.write_text("more than one")
        self.set(lineage)

    def up_to_date(self, options: dict[str, object] | None = None) -> bool:
        """Whether a run would be left out."""
        return self.notes.is_up_to_date("example.com", options or OPTIONS, [str(self.cert)])


@pytest.fixture
def noted(tmp_path: Path) -> Noted:
    """A lineage up to date."""
    return Noted(tmp_path)


def test_nothing_differs(noted: Noted) -> None:
    """Up to date, also after other files came into a folder that is shared with other lineages."""
    assert noted.up_to_date()
    (noted.folder / "0000_csr-certbot.pem").write_text("another lineage's")
    assert noted.up_to_date()


CHANGES: dict[str, Callable[[Noted], object]] = {
    "other content": lambda s: s.snippet.write_text("more than one"),
    "replaced by the same content": lambda s: (
        s.snippet.rename(s.snippet.with_name("old")),
        s.snippet.write_text("one"),
    ),
    "gone": lambda s: s.snippet.unlink(),
    "other mode": lambda s: s.snippet.chmod(0o600),
    "folder open to all": lambda s: s.folder.chmod(0o777),
    "folder gone": lambda s: s.folder.rmdir(),
    "older again": lambda s: os.utime(s.cert, (0, 0)),
    "note gone": lambda s: s.file.unlink(),
    "note with the shared files gone": lambda s: s.holder.unlink(),
    "note with the shared files cleared": lambda s: s.notes.clear("another.com"),
    "only the other noted after a change": lambda s: s.change_and_set("another.com"),
    "note cleared": lambda s: s.notes.clear("example.com"),
    "note empty": lambda s: s.file.write_text(""),
    "note cut short": lambda s: s.file.write_text(s.file.read_text()[:-3]),
    "note of another kind": lambda s: s.file.write_text("[1, 2]"),
    "note of another version": lambda s: s.file.write_text(
        s.file.read_text().replace('"version": ', '"version": 1')
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_anything_differs(noted: Noted, name: str) -> None:
    """Each change on its own leads to a full run."""
    CHANGES[name](noted)
    assert not noted.up_to_date()


def test_other_options_differ(noted: Noted) -> None:
    """An option that is given with another value leads to a full run. What is not given, the keyring has."""
    assert noted.up_to_date({"max-age": None}) and noted.up_to_date({"max-age": 60})
    assert not noted.up_to_date({"max-age": "61"})
    assert not noted.up_to_date({"report-only": True})


def test_live_certificate_must_be_among_the_noted_files(noted: Noted) -> None:
    """A lineage that moved elsewhere is looked at."""
    assert not noted.notes.is_up_to_date("example.com", OPTIONS, [str(noted.folder / "cert.pem")])


def test_file_that_was_missing_counts(noted: Noted, tmp_path: Path) -> None:
    """A file that is not there can be noted, and differs as soon as it appears."""
    missing = tmp_path / "missing"
    noted.notes.set({"example.com": Note(OPTIONS, [str(noted.cert), str(missing)])}, [])
    assert noted.up_to_date()
    missing.touch()
    assert not noted.up_to_date()


def test_other_lineage_may_be_noted_anew(noted: Noted) -> None:
    """With other options, say: nothing that concerns this one has changed."""
    noted.set("another.com", **{"max-age": "61"})
    assert noted.up_to_date()


def test_lineages_have_their_own_notes(noted: Noted) -> None:
    """Clearing one leaves the other; clearing none is no error."""
    noted.notes.clear("another")
    assert noted.up_to_date()
    assert not noted.notes.is_up_to_date("another", OPTIONS, [])
