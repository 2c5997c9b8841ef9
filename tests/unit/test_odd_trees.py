"""Odd states of certbot's folders: what a renewal does then, what is said, and the command that mends it.

Each row of the table is a kind. Something is wrong, and certbot renews for a key that clients accept all the
same (G3). Apache has loaded the new certificate at the end (G12). ``status`` and ``check`` tell by their exit
codes. A command mends it, and is run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest

from simulated.server import Server

STATUS, CHECK = "certbot-pinkeep status", "certbot-pinkeep check"
FORCED, RENEW = "certbot renew --force-renewal", "certbot renew"
ANEW = "certbot certonly --installer pinkeep --pinkeep-keyring a.test --cert-name a.test -d a.test"
OK, FAILED = 0, 1
WARNING, CRITICAL, UNKNOWN = 1, 2, 3


@dataclass(frozen=True)
class Odd:
    """A kind of odd tree.

    :ivar kind: what is odd
    :ivar make: makes it so
    :ivar renewal: the exit code of ``certbot renew``
    :ivar status: the exit code of ``status`` before the renewal
    :ivar check: the exit code of ``check`` before the renewal
    :ivar by_hand: what an admin has to do first to mend it; ``None``: nothing
    :ivar mend: the command that mends it, after the renewal; empty: the renewal did
    :ivar renewed: whether certbot renews it; not, if certbot without pinkeep would not either
    """

    kind: str
    make: Callable[[Server], object]
    renewal: int = OK
    status: int = OK
    check: int = OK
    by_hand: Callable[[Server], object] | None = None
    mend: str = ""
    renewed: bool = True


Path = Callable[[Server], str]
Change = Callable[[Server], None]


def live(server: Server) -> str:
    """The lineage's folder of links."""
    return str(server.live())


def archive(server: Server) -> str:
    """The lineage's folder of certificates and keys."""
    return str(server.config / "archive" / "a.test")


def renewal(server: Server) -> str:
    """The lineage's renewal file."""
    return str(server.renewal())


#: What may be odd.
PLACES: dict[str, Path] = {
    "keyring file": lambda server: str(server.keyring_file()),
    "copy of the keyring file": lambda server: server.copy(),
    "folder of the copies": lambda server: str(server.work / "pinkeep"),
    "work dir": lambda server: str(server.work),
    "snippet": lambda server: str(server.snippet()),
    "keys/": lambda server: str(server.config / "keys"),
    "csr/": lambda server: str(server.config / "csr"),
    "live key's file": lambda server: str(server.key_file(server.live_pin())),
    "backup's file": lambda server: str(server.key_file(server.backups()[0])),
    "live certificate's link": lambda server: str(server.live() / "cert.pem"),
    "live/ of the lineage": live,
    "archive/ of the lineage": archive,
    "renewal file": renewal,
}


def taken_away(server: Server) -> None:
    """The admin moves away what is left of it."""
    for path in (renewal, live, archive):
        with suppress(FileNotFoundError):
            gone(path)(server)


def gone(path: Path) -> Change:
    """It is not there."""

    def change(server: Server) -> None:
        found = path(server)
        shutil.rmtree(found) if os.path.isdir(found) else os.unlink(found)

    return change


def emptied(path: Path) -> Change:
    """A folder has nothing in it, a file no content."""

    def change(server: Server) -> None:
        found = path(server)
        if os.path.isdir(found):
            shutil.rmtree(found)
            os.mkdir(found, 0o700)
        else:
            os.truncate(found, 0)

    return change


def rubbish(path: Path) -> Change:
    """It holds something else."""

    def change(server: Server) -> None:
        with open(path(server), "w") as file:
            file.write("rubbish\n")

    return change


def fifo(path: Path) -> Change:
    """There is a pipe in its place, which nobody writes to."""

    def change(server: Server) -> None:
        gone(path)(server)
        os.mkfifo(path(server), 0o600)

    return change


def folder(path: Path) -> Change:
    """There is a folder in its place."""

    def change(server: Server) -> None:
        gone(path)(server)
        os.mkdir(path(server), 0o700)

    return change


def dangling(path: Path) -> Change:
    """There is a link in its place that leads nowhere."""

    def change(server: Server) -> None:
        gone(path)(server)
        os.symlink("/nonexistent/file", path(server))

    return change


def strangers(path: Path) -> Change:
    """It belongs to another user."""

    def change(server: Server) -> None:
        os.chown(path(server), 12345, -1)

    return change


def open_to_all(path: Path) -> Change:
    """Everybody can write to it."""

    def change(server: Server) -> None:
        os.chmod(path(server), 0o777)

    return change


def own(path: Path) -> Change:
    """The admin gives it back to who runs certbot."""

    def change(server: Server) -> None:
        os.chown(path(server), os.geteuid(), -1)

    return change


def closed(path: Path) -> Change:
    """The admin takes it from the others."""

    def change(server: Server) -> None:
        os.chmod(path(server), 0o700 if os.path.isdir(path(server)) else 0o600)

    return change


def renamed_by_hand(server: Server) -> None:
    """``a.test`` is ``b.test`` now: folders, links and renewal file, as some do it with sed."""
    for part in ("live", "archive"):
        (server.config / part / "a.test").rename(server.config / part / "b.test")
    for link in (server.config / "live" / "b.test").iterdir():
        if link.is_symlink():
            target = os.readlink(link).replace("a.test", "b.test")
            link.unlink()
            link.symlink_to(target)
    text = server.renewal().read_text().replace("/a.test", "/b.test")
    server.renewal().unlink()
    server.renewal("b.test").write_text(text)
    server.include["a.test"] = "a.test"


DAMAGES: dict[str, Callable[[Path], Change]] = {
    "gone": gone,
    "empty": emptied,
    "rubbish": rubbish,
    "a pipe": fifo,
    "a folder": folder,
    "a file": lambda path: lambda server: (gone(path)(server), rubbish(path)(server))[1],
    "a link that leads nowhere": dangling,
    "another user's": strangers,
    "open to all": open_to_all,
}
#: What an admin does first, and the command that mends the rest.
MENDS: dict[str, tuple[Callable[[Path], Change], str]] = {
    "removed": (gone, RENEW),
    "given back": (own, RENEW),
    "closed": (closed, RENEW),
    "made anew": (lambda path: taken_away, ANEW),
}


def odd(place: str, damages: str, *codes: int, mend: str = "") -> Iterator[Odd]:
    """What certbot, status and check say of each of these damages of a place, and how it is mended."""
    path = PLACES[place]
    by_hand, command = MENDS[mend] if mend else (None, "")
    renewal, status, check = codes
    for damage in damages.split(", "):
        yield Odd(
            f"{place} {damage}",
            DAMAGES[damage](path),
            renewal,
            status,
            check,
            by_hand(path) if by_hand else None,
            command,
            mend != "made anew",
        )


ODD = [
    Odd("nothing is odd", lambda server: None),
    *odd("keyring file", "gone", OK, OK, WARNING),
    *odd("keyring file", "empty, rubbish", FAILED, FAILED, CRITICAL, mend="removed"),
    *odd("keyring file", "a pipe, a folder", FAILED, FAILED, CRITICAL, mend="removed"),
    *odd("keyring file", "another user's", FAILED, FAILED, CRITICAL, mend="given back"),
    *odd("copy of the keyring file", "gone, rubbish, a pipe, a folder", OK, OK, OK),
    *odd("folder of the copies", "gone, a file", OK, OK, OK),
    *odd("folder of the copies", "open to all", OK, OK, CRITICAL),
    *odd("work dir", "gone", OK, OK, OK),
    *odd("snippet", "gone", OK, OK, CRITICAL),
    *odd("snippet", "empty, rubbish", FAILED, OK, CRITICAL, mend="removed"),
    *odd("snippet", "a pipe, a folder", FAILED, OK, UNKNOWN, mend="removed"),
    *odd("keys/", "gone, empty", OK, OK, CRITICAL),
    *odd("keys/", "open to all", FAILED, OK, CRITICAL, mend="closed"),
    *odd("keys/", "another user's", FAILED, OK, CRITICAL, mend="given back"),
    *odd("live key's file", "gone, rubbish, a pipe", OK, OK, CRITICAL),
    *odd("backup's file", "gone, rubbish, a pipe, a folder", OK, OK, CRITICAL),
    *odd("csr/", "gone, empty", OK, OK, WARNING),
    *odd("csr/", "open to all", FAILED, OK, WARNING, mend="closed"),
    *odd("live/ of the lineage", "gone", FAILED, OK, CRITICAL, mend="made anew"),
    *odd("live certificate's link", "gone", FAILED, OK, CRITICAL, mend="made anew"),
    *odd(
        "live certificate's link",
        "a link that leads nowhere",
        FAILED,
        OK,
        CRITICAL,
        mend="made anew",
    ),
    *odd("archive/ of the lineage", "gone", FAILED, OK, CRITICAL, mend="made anew"),
    *odd("renewal file", "rubbish", FAILED, OK, CRITICAL, mend="made anew"),
    *odd("renewal file", "gone", OK, OK, CRITICAL, mend="made anew"),
    Odd("lineage renamed by hand", renamed_by_hand, check=WARNING),
    Odd(
        "renewal file renamed alone",
        lambda server: server.renewal().rename(server.renewal("site")),
        check=WARNING,
        by_hand=lambda server: server.renewal("site").rename(server.renewal()),
    ),
    Odd(
        "renewal file copied under another name",
        lambda server: shutil.copy(server.renewal(), server.renewal("site")),
    ),
]


@pytest.fixture
def server(tmp_path: object) -> Server:
    """A certificate that is pinned and sound."""
    found = Server(tmp_path)  # type: ignore[arg-type]
    found.pinned()
    return found


def name_of(server: Server) -> str:
    """The lineage's name."""
    return next((one.name for one in (server.config / "live").glob("*.test")), "a.test")


def serial(server: Server, name: str) -> int | None:
    """The serial number of the live certificate; ``None``: there is none."""
    try:
        return server.serial(name)
    except OSError:
        return None


@pytest.mark.parametrize("odd", ODD, ids=[odd.kind for odd in ODD])
def test_g3_g12_odd_tree(server: Server, odd: Odd) -> None:
    """Renewed, for the same key, and loaded; what is odd is told, and can be mended."""
    pin = server.live_pin()
    odd.make(server)
    name = name_of(server)
    before = serial(server, name)
    status, check = server.run(STATUS), server.run(CHECK)
    renewal = server.run(FORCED)
    told = f"\n{status.text}\n{check.text}\n{renewal.text}"
    after = serial(server, name)
    loaded = after is not None and server.loaded_serial(name) == after
    assert (after not in (None, before), loaded and after != before) == (
        odd.renewed,
        odd.renewed,
    ), told
    assert not odd.renewed or server.live_pin(name) == pin
    assert (renewal.code, status.code, check.code) == (odd.renewal, odd.status, odd.check), told
    if odd.by_hand is not None:
        odd.by_hand(server)
    if odd.mend:
        mended = server.run(odd.mend)
        assert mended.code == 0, mended.text
    server.sound()


def test_g3_file_of_the_live_key_that_is_lost_is_made_of_the_keyrings(server: Server) -> None:
    """Certbot skips the certificate. The only command that ``check`` names brings the key back."""
    server.live().joinpath("privkey.pem").resolve().unlink()
    said = server.run(CHECK)
    commands = re.findall(r"Run: (.*)", said.out.partition("\n")[2])

    assert said.code == CRITICAL
    for command in commands:
        subprocess.run(command, shell=True, check=True)
    server.sound()
    assert server.run(FORCED).code == OK


def test_certificate_that_certbot_does_not_renew_of_itself_is_told(server: Server) -> None:
    """``autorenew = False``: every night passes the certificate over, and nothing else shows it."""
    text = server.renewal().read_text()
    server.renewal().write_text(f"{text}autorenew = False\n")
    said = server.run(CHECK)

    assert said.code == WARNING
    subprocess.run(said.out.rpartition("Run: ")[2], shell=True, check=True)
    server.sound()


def test_snippet_folder_that_is_gone_is_told(server: Server) -> None:
    """The admin's own folder for snippets was removed: each renewal says so, and ``check`` as well."""
    folder = server.root / "snippets"
    folder.mkdir()
    server.cli_ini.append(f"pinkeep-snippet-dir = {folder}")
    assert server.run(RENEW).code == OK
    shutil.rmtree(folder)

    assert server.run(FORCED).code == FAILED
    assert server.loaded_serial() == server.serial()
    said = server.run(CHECK)
    assert (said.code, "there is no such folder" in said.out) == (CRITICAL, True)


def test_g3_backups_are_staged_though_the_renewal_of_a_compromised_key_fails(
    server: Server,
) -> None:
    """All backups' files are lost. The certificate is due, so it never comes to the part of the run that
    stages others; they are staged all the same, and one of them is safe some day."""
    server.run("certbot-pinkeep rollover a.test --compromised")
    lost = server.backups()
    for pin in lost:
        server.key_file(pin).unlink()

    assert server.run(FORCED).code == FAILED
    new = [pin for pin in server.backups() if pin not in lost]
    assert len(new) == 2
    published = server.sent("a.test")
    assert published is not None and set(new) <= set(published.pins)
    server.wait(61)
    assert server.run(FORCED).code == OK
    assert server.live_pin() in new
