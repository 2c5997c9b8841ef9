"""Only regular files of a sane size are read: nothing else hangs certbot or eats the memory."""

from __future__ import annotations

import ast
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import NOW, STATE, Site, make_pem, pin_of_key

import certbot_pinkeep
from certbot_pinkeep import apache, files, lineage, renewals, survey
from certbot_pinkeep.apache import Server
from certbot_pinkeep.commands import backup
from certbot_pinkeep.csrs import Folders
from certbot_pinkeep.errors import PinkeepError
from certbot_pinkeep.stamps import Stamps
from certbot_pinkeep.store import Store

PACKAGE = Path(certbot_pinkeep.__file__).parent
#: Uses of ``open`` that read no file: an URL, and the empty device in place of a closed stream.
NO_FILES = {("revocations.py", "opener.open"), ("command.py", "open"), ("command.py", "os.open")}
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
        files.read(str(tmp_path / "it"), files.SMALL)


def test_a_file_of_the_largest_size_is_read(tmp_path: Path) -> None:
    """To its last byte, and one more is too much."""
    path = tmp_path / "it"
    path.write_bytes(b"x" * files.MEDIUM)
    assert len(files.read(str(path), files.MEDIUM)) == files.MEDIUM
    path.write_bytes(b"x" * (files.MEDIUM + 1))
    with pytest.raises(OSError, match="larger"):
        files.read(str(path), files.MEDIUM)


@pytest.mark.parametrize("kind", KINDS)
def test_g3_no_place_where_a_file_is_expected_hangs_a_run(tmp_path: Path, kind: str) -> None:
    """Each is an error that names the file, or as if it was not there."""
    site = Site(tmp_path)
    work = str(site.work)
    live = site.look()
    store = Store(str(site.config), work)
    assert store.witness is not None
    store.save(STATE)
    pem = make_pem()

    plant(Path(store.witness.path("ring")), kind)
    plant(Path(store.witness.folder, "clock"), kind)
    fresh = Store(str(site.config), work)
    assert fresh.load("ring") is not None and fresh.reached(NOW) == NOW

    plant(Path(store.path("ring")), kind)
    with pytest.raises(PinkeepError, match=r"ring\.conf"):
        Store(str(site.config), work).load("ring")

    stamps = Stamps(work)
    stamps.set("example.com", {}, [])
    plant(Path(stamps.folder, "example.com.json"), kind)
    assert not stamps.in_step("example.com", {}, [])

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
    assert survey.Survey(str(site.config), store).without_record([], []) == []

    plant(site.renewal, kind)
    with pytest.raises(PinkeepError, match=r"example\.com\.conf"):
        renewals.load(str(site.config), "example.com")

    for option in ("--csr", "--key", "--passphrase-file"):
        plant(tmp_path / "given", kind)
        with pytest.raises(PinkeepError, match=option):
            backup._read(option, str(tmp_path / "given"))
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
    """Nothing is opened outside of ``files.py``: not by another name, and not by a library."""
    found = []
    for module, call, called in calls():
        name = called.rpartition(".")[2]
        if module == "files.py" or (module, called) in NO_FILES:
            continue
        if name in ("open", "fdopen", "open_code", "read_text", "read_bytes"):
            found.append(f"{module}:{call.lineno} {called}")
        if name == "ConfigObj" and call.args and "BytesIO" not in ast.unparse(call.args[0]):
            found.append(f"{module}:{call.lineno} {called} with a path")
    assert found == []
