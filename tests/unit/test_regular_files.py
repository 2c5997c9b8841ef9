"""Only regular files of a sane size are read: nothing else hangs certbot or eats the memory."""

from __future__ import annotations

import ast
import os
import re
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

import certbot_pinkeep
from certbot_pinkeep.adapters import lineage, probe, renewal_conf
from certbot_pinkeep.adapters.probe import Way
from certbot_pinkeep.carriers import apache
from certbot_pinkeep.carriers.apache import Server
from certbot_pinkeep.check import local_files
from certbot_pinkeep.cli import context, output
from certbot_pinkeep.core.errors import PinkeepError
from certbot_pinkeep.storage import atomic, trust
from certbot_pinkeep.storage.keys_and_csrs import Folders
from certbot_pinkeep.storage.store import Store
from certbot_pinkeep.storage.uptodate import Note, UpToDate
from simulated.machine import Site
from simulated.values import NOW, STATE, make_pem, pin_of_key

PACKAGE = Path(certbot_pinkeep.__file__).parent
#: Uses of ``open`` that read no file: an URL, and the empty device in place of a closed stream.
NO_FILES = {("revocation.py", "opener.open"), ("output.py", "open"), ("output.py", "os.open")}
KINDS = ("FIFO", "device", "socket", "folder", "large")


@pytest.fixture(autouse=True)
def limit() -> Iterator[None]:
    """A test that hangs fails."""

    def late(*_: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def plant(path: Path, kind: str) -> None:
    """Put something that is no regular file of a sane size at *path*."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        # The name of a socket is short.
        here = os.open(path.parent, os.O_RDONLY)
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)  # takes no room on the disk


@pytest.mark.parametrize("kind", KINDS)
def test_g3_reading_what_is_no_file_is_an_error_at_once(tmp_path: Path, kind: str) -> None:
    """It says what is there."""
    plant(tmp_path / "it", kind)
    with pytest.raises(OSError, match="larger" if kind == "large" else "not a regular file"):
        atomic.read(str(tmp_path / "it"))


@pytest.mark.parametrize("largest", [atomic.USUAL, atomic.LARGEST])
def test_a_file_of_the_largest_size_is_read(tmp_path: Path, largest: int) -> None:
    """To its last byte, and one more is too much."""
    path = tmp_path / "it"
    path.touch()
    os.truncate(path, largest)
    assert len(atomic.read(str(path), largest)) == largest
    os.truncate(path, largest + 1)
    with pytest.raises(OSError, match="larger"):
        atomic.read(str(path), largest)


@pytest.mark.parametrize("kind", KINDS)
def test_g3_no_place_where_a_file_is_expected_hangs_a_run(tmp_path: Path, kind: str) -> None:
    """Each is an error that names the file, or as if it was not there."""
    site = Site(tmp_path)
    work = str(site.work)
    live = site.look()
    store = Store(str(site.config), work)
    store.save(STATE)
    pem = make_pem()

    plant(Path(store.shadow.path("ring")), kind)
    plant(Path(store.shadow.folder, "clock"), kind)
    fresh = Store(str(site.config), work)
    assert fresh.load("ring") is not None and fresh.latest_known(NOW) == NOW

    plant(Path(store.path("ring")), kind)
    with pytest.raises(PinkeepError, match=r"ring\.conf"):
        Store(str(site.config), work).load("ring")

    notes = UpToDate(work)
    notes.set({"example.com": Note({}, [])}, [])
    plant(Path(notes.folder, "example.com.json"), kind)
    assert not notes.is_up_to_date("example.com", {}, [])

    folders = Folders(str(site.config))
    plant(Path(folders.keys, "0000_key-certbot.pem"), kind)
    plant(Path(folders.csrs, "0000_csr-certbot.pem"), kind)
    assert folders.find_key(pin_of_key(pem)) is None and folders.saved_csrs() == {}
    with pytest.raises(PinkeepError, match="0000_key"):
        folders.load_key("keys/0000_key-certbot.pem", pin_of_key(pem))

    plant(site.snippet, kind)
    with pytest.raises(PinkeepError, match=r"snippet .*example\.com\.conf"):
        apache.read_snippet(str(site.snippet))
    with pytest.raises(PinkeepError, match=r"snippet .*example\.com\.conf"):
        apache.publish(Server(str(site.snippet), (), ()), {str(site.snippet): "new"}, None)

    for part in ("privkey.pem", "cert.pem"):
        plant(site.config / "live" / "example.com" / part, kind)
    with pytest.raises(OSError, match=r"privkey\.pem"):
        live.key_pem()
    with pytest.raises(PinkeepError, match=r"cert\.pem"):
        site.look()
    with pytest.raises(PinkeepError, match=r"cert\.pem"):
        lineage.glance(str(site.config / "live" / "example.com" / "cert.pem"))
    assert live.certificates()[0] == b""

    hook = site.config / "renewal-hooks" / "deploy" / "hook"
    plant(hook, kind)
    assert local_files.LocalFiles(str(site.config), store).without_record([], []) == []

    plant(site.renewal, kind)
    with pytest.raises(PinkeepError, match=r"example\.com\.conf"):
        renewal_conf.load(str(site.config), "example.com")

    for option in ("--csr", "--key", "--passphrase-file"):
        plant(tmp_path / "given", kind)
        with pytest.raises(PinkeepError, match=option):
            context.read_file(option, str(tmp_path / "given"))
        if kind == "folder":
            (tmp_path / "given").rmdir()


# No other way


def calls() -> Iterator[tuple[str, ast.Call, str]]:
    """All calls in the package: the module, the call, and what is called."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield path.name, node, ast.unparse(node.func)


def test_g3_there_is_one_way_of_opening_a_file() -> None:
    """Nothing is opened outside of ``storage/atomic.py``: not by another name, and not by a library."""
    found = []
    for module, call, called in calls():
        name = called.rpartition(".")[2]
        if module == "atomic.py" or (module, called) in NO_FILES:
            continue
        if name in ("open", "fdopen", "open_code", "read_text", "read_bytes"):
            found.append(f"{module}:{call.lineno} {called}")
        if name in ("load_verify_locations", "load_cert_chain") and "cadata" not in ast.unparse(
            call
        ):
            found.append(f"{module}:{call.lineno} {called} with a path")
        first = ast.unparse(call.args[0]) if call.args else ""
        if name == "ConfigObj" and first and not re.search(r"BytesIO|\.splitlines\(", first):
            found.append(f"{module}:{call.lineno} {called} with a path")
    assert found == []


# What is opened is what was looked at


def test_g8_a_file_that_appears_while_it_is_looked_for_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder like /tmp somebody can put one in between: what was opened is looked at."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    path = tmp_path / "tmp" / "ring.conf"
    real_open, real_lstat = os.open, os.lstat

    def late(name: str, *flags: int) -> int:
        if name == str(path):
            path.write_text("evil")
        return real_open(name, *flags)

    def lstat(name: str) -> os.stat_result:
        seen = real_lstat(name)
        return os.stat_result([*seen[:4], 4711, *seen[5:]]) if name == str(path) else seen

    monkeypatch.setattr(os, "open", late)
    monkeypatch.setattr(os, "lstat", lstat)
    with pytest.raises(trust.ExposedFile, match="user 4711"):
        atomic.read_closed(str(path))


@pytest.mark.parametrize("left", ["other", "gone"])
def test_g8_what_was_opened_is_what_was_looked_at(
    tmp_path: Path, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file, or none, at its place after it was opened: it is not believed."""
    path = tmp_path / "ring.conf"
    path.write_text("evil")
    real = os.open

    def swapping(name: str, *flags: int) -> int:
        descriptor = real(name, *flags)
        if name == str(path):
            path.rename(tmp_path / "evil")
            if left == "other":
                (tmp_path / "sound").write_text("sound")
                (tmp_path / "sound").rename(path)
        return descriptor

    monkeypatch.setattr(os, "open", swapping)
    with pytest.raises(OSError, match="replaced while it was opened"):
        atomic.read_closed(str(path))


# Paths that are given


@pytest.mark.parametrize("kind", KINDS)
def test_g3_roots_are_a_regular_file(tmp_path: Path, kind: str) -> None:
    """The library would wait for ever for a FIFO, and with it the monitoring."""
    plant(tmp_path / "roots", kind)
    with pytest.raises(PinkeepError, match="--ca-file"):
        probe.look([], Way(ca_file=str(tmp_path / "roots")))


def test_g9_nothing_is_written_to_a_fifo_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In /tmp anybody can put one, and nobody reads it."""
    plant(tmp_path / "out", "FIFO")
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        seen = real(descriptor)
        if not stat.S_ISFIFO(seen.st_mode):
            return seen
        return os.stat_result([*seen[:4], 4711, *seen[5:]])

    monkeypatch.setattr(os, "fstat", fstat)
    with pytest.raises(PinkeepError, match="a FIFO of the user 4711"):
        output.write(str(tmp_path / "out"), b"pins")


def test_ours_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A FIFO that we made, and a pipe by its descriptor, as shells give it, whoever made that."""
    plant(tmp_path / "out", "FIFO")
    reader = os.open(tmp_path / "out", os.O_RDONLY | os.O_NONBLOCK)
    output.write(str(tmp_path / "out"), b"pins")
    assert os.read(reader, 10) == b"pins"
    os.close(reader)
    reader, writer = os.pipe()
    real = os.fstat
    others = os.fstat(writer)

    def fstat(descriptor: int) -> os.stat_result:
        seen = real(descriptor)
        mine = not os.path.samestat(seen, others)
        return seen if mine else os.stat_result([*seen[:4], 4711, *seen[5:]])

    monkeypatch.setattr(os, "fstat", fstat)  # as behind sudo
    output.write(f"/dev/fd/{writer}", b"more")
    assert os.read(reader, 10) == b"more"
    for one in (reader, writer):
        os.close(one)
