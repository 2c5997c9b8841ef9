"""Stamps: nothing is looked at again while nothing differs, and everything when anything does."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from certbot_pinkeep.storage.uptodate import Stamp, UpToDate

OPTIONS: dict[str, object] = {"max-age": "60", "keyring": None}


class Stamped:
    """A lineage that is stamped with its file, and with a file and a folder that it shares with another."""

    def __init__(self, root: Path) -> None:
        self.stamps = UpToDate(str(root / "work"))
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
        """Stamp lineages together."""
        stamp = Stamp({**OPTIONS, **more}, [str(self.cert)])
        shared = [str(self.snippet), str(self.folder)]
        self.stamps.set(dict.fromkeys(lineages, stamp), shared)

    def change_and_set(self, lineage: str) -> None:
        """Change a file that is shared, and stamp only one of the two."""
        self.snippet.write_text("more than one")
        self.set(lineage)

    def up_to_date(self, options: dict[str, object] | None = None) -> bool:
        """Whether a run would be left out."""
        return self.stamps.is_up_to_date("example.com", options or OPTIONS, [str(self.cert)])


@pytest.fixture
def stamped(tmp_path: Path) -> Stamped:
    """A lineage up to date."""
    return Stamped(tmp_path)


def test_nothing_differs(stamped: Stamped) -> None:
    """Up to date, also after other files came into a folder that is shared with other lineages."""
    assert stamped.up_to_date()
    (stamped.folder / "0000_csr-certbot.pem").write_text("another lineage's")
    assert stamped.up_to_date()


CHANGES: dict[str, Callable[[Stamped], object]] = {
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
    "stamp gone": lambda s: s.file.unlink(),
    "stamp with the shared files gone": lambda s: s.holder.unlink(),
    "stamp with the shared files cleared": lambda s: s.stamps.clear("another.com"),
    "only the other stamped after a change": lambda s: s.change_and_set("another.com"),
    "stamp cleared": lambda s: s.stamps.clear("example.com"),
    "stamp empty": lambda s: s.file.write_text(""),
    "stamp cut short": lambda s: s.file.write_text(s.file.read_text()[:-3]),
    "stamp of another kind": lambda s: s.file.write_text("[1, 2]"),
    "stamp of another version": lambda s: s.file.write_text(
        s.file.read_text().replace('"version": ', '"version": 1')
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_anything_differs(stamped: Stamped, name: str) -> None:
    """Each change on its own leads to a full run."""
    CHANGES[name](stamped)
    assert not stamped.up_to_date()


def test_other_options_differ(stamped: Stamped) -> None:
    """An option that is given with another value leads to a full run. What is not given, the keyring has."""
    assert stamped.up_to_date({"max-age": None}) and stamped.up_to_date({"max-age": 60})
    assert not stamped.up_to_date({"max-age": "61"})
    assert not stamped.up_to_date({"report-only": True})


def test_live_certificate_must_be_among_the_stamped_files(stamped: Stamped) -> None:
    """A lineage that moved elsewhere is looked at."""
    assert not stamped.stamps.is_up_to_date(
        "example.com", OPTIONS, [str(stamped.folder / "cert.pem")]
    )


def test_file_that_was_missing_counts(stamped: Stamped, tmp_path: Path) -> None:
    """A file that is not there can be stamped, and differs as soon as it appears."""
    missing = tmp_path / "missing"
    stamped.stamps.set({"example.com": Stamp(OPTIONS, [str(stamped.cert), str(missing)])}, [])
    assert stamped.up_to_date()
    missing.touch()
    assert not stamped.up_to_date()


def test_other_lineage_may_be_stamped_anew(stamped: Stamped) -> None:
    """With other options, say: nothing that concerns this one has changed."""
    stamped.set("another.com", **{"max-age": "61"})
    assert stamped.up_to_date()


def test_lineages_have_their_own_stamps(stamped: Stamped) -> None:
    """Clearing one leaves the other; clearing none is no error."""
    stamped.stamps.clear("another")
    assert stamped.up_to_date()
    assert not stamped.stamps.is_up_to_date("another", OPTIONS, [])
