"""Debian's name and mail servers, unpacked below ``.dev/servers`` and never installed.

No maintainer script runs and no service starts: :class:`~lab.namespace.Namespace` lays the folder over the
machine's own. ``./dev test`` calls this file as a program, which needs nothing but Debian and its Python.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / ".dev" / "servers"
PACKAGES = (
    *("bind9", "bind9-dnsutils", "bind9-utils", "knot", "unbound"),
    *("pdns-server", "pdns-backend-sqlite3"),
    *("postfix", "dovecot-imapd", "dovecot-pop3d"),
    "iproute2",
)
# Debian's packages may have files in folders that are links since Debian 12 at the latest.
_LINKS = ("bin", "sbin", "lib", "lib64")


def fetch(folder: Path = FOLDER) -> None:
    """Fetch the packages that this machine lacks, with all that they need, and unpack them."""
    if is_there(folder):
        return
    shutil.rmtree(folder, ignore_errors=True)
    archives, root = folder / "archives", folder / "root"
    archives.mkdir(parents=True)
    root.mkdir()
    try:
        _download(archives)
    except subprocess.CalledProcessError:
        _run("apt-get", "-qq", "update")
        _download(archives)
    for name in _LINKS:
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(Path("usr", name))
    for archive in sorted(archives.iterdir()):
        _unpack(archive, root)
    shutil.rmtree(archives)
    (folder / "stamp").write_text(_stamp())


def is_there(folder: Path = FOLDER) -> bool:
    """Whether all of them are unpacked, for the Debian that this machine has now."""
    stamp = folder / "stamp"
    return stamp.is_file() and stamp.read_text() == _stamp()


def _stamp() -> str:
    return Path("/etc/os-release").read_text() + " ".join(PACKAGES)


def _download(folder: Path) -> None:
    planned = _run("apt-get", "-s", "-q", "--no-install-recommends", "install", *PACKAGES)
    needed = [line.split()[1] for line in planned.splitlines() if line.startswith("Inst ")]
    if needed:
        _run("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *needed, cwd=folder)


def _unpack(archive: Path, root: Path) -> None:
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE
    ) as packed:
        subprocess.run(
            ["tar", "-x", "--keep-directory-symlink", "-C", str(root)],
            stdin=packed.stdout,
            check=True,
        )
    if packed.returncode:
        raise SystemExit(f"{archive} cannot be read")


def _run(*command: str, cwd: Path | None = None) -> str:
    return subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    try:
        fetch()
    except subprocess.CalledProcessError as error:
        sys.exit(f"dev: {error}")
