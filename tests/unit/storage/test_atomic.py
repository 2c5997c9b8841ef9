"""Files in folders that are ours, and in those that are not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from certbot_pinkeep.storage import atomic
from simulated.values import mode_of, tree

# No process has this number. Earlier versions named files by that alone.
EARLIER = ".pinkeep-999999999"
DEAD = f"{EARLIER}-0123456789abcdef"


def test_g5_what_a_killed_run_left_is_swept_away(tmp_path: Path) -> None:
    """By the next one that writes there."""
    for name in (EARLIER, DEAD):
        (tmp_path / name).write_text("half")
    atomic.replace(str(tmp_path / "new"), b"whole", 0o600)
    assert os.listdir(tmp_path) == ["new"] and mode_of(tmp_path / "new") == 0o600


def test_g9_sweeping_takes_only_what_such_a_run_leaves(tmp_path: Path) -> None:
    """Not files of the admin's with a like name, nor folders, links, or what a run is writing."""
    for name in (
        ".pinkeep-",
        ".pinkeep-notes",
        f"{DEAD}.bak",
        f"{EARLIER}-x",
        ".pinkeep-\N{SUPERSCRIPT TWO}",
    ):
        (tmp_path / name).write_text("mine")
    (tmp_path / f"{EARLIER}0").mkdir()
    (tmp_path / f"{EARLIER}1").symlink_to("elsewhere")
    (tmp_path / f".pinkeep-{os.getppid()}").write_text("being written")
    before = tree(tmp_path)
    atomic.sweep(str(tmp_path))
    assert tree(tmp_path) == before


def test_g9_file_is_put_beside_others(tmp_path: Path) -> None:
    """In a folder that is not ours nothing else changes, also if it cannot be put."""
    (tmp_path / DEAD).write_text("not ours")
    (tmp_path / "folder").mkdir()
    before = tree(tmp_path)
    with pytest.raises(OSError):
        atomic.put(str(tmp_path / "folder"), b"whole", 0o644)
    assert tree(tmp_path) == before
    atomic.put(str(tmp_path / "new"), b"whole", 0o644)
    after = tree(tmp_path)
    assert after.pop(str(tmp_path / "new"))[:2] == (0o100644, b"whole") and after == before


@pytest.mark.parametrize("answer", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_g5_numbered_file_on_a_file_system_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int
) -> None:
    """Each gets the next number, whole and with its mode; nothing is overwritten, nothing else is left."""

    def link(*paths: str, **named: object) -> None:
        raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr(os, "link", link)
    (tmp_path / "0001_x.pem").write_bytes(b"taken")
    for content in (b"one", b"two"):
        atomic.create_numbered(str(tmp_path), "x.pem", content, 0o600)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "0000_x.pem": b"one",
        "0001_x.pem": b"taken",
        "0002_x.pem": b"two",
    }
    assert mode_of(tmp_path / "0002_x.pem") == 0o600
