"""The first process of a :class:`~lab.namespace.Namespace`: makes it, says so, and stays for its sake.

A program of its own that imports nothing of the lab. It is called with the folder of the unpacked servers.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

# The accounts that Debian's packages make when they are installed.
USERS = ("bind", "knot", "unbound", "pdns", "postfix", "dovecot", "dovenull")
GROUPS = ("postdrop",)
_FIRST_ID = 61_000
FILES = {
    "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n",
    "/etc/resolv.conf": "nameserver 127.0.0.53\noptions edns0 trust-ad\n",
}


def make(root: Path) -> None:
    """Lay the servers over this machine's own folders. All that is written there is gone in the end."""
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    # libfaketime names what it keeps there by process ids, and those are its own in here.
    run("mount", "-t", "tmpfs", "tmpfs", "/dev/shm")
    upper = Path("/run/upper")
    for name in ("usr", "etc", "var"):
        layers = [upper / name, upper / f"{name}.work", root / name]
        for layer in layers:
            layer.mkdir(parents=True, exist_ok=True)
        options = f"lowerdir={layers[2]}:/{name},upperdir={layers[0]},workdir={layers[1]}"
        run("mount", "-t", "overlay", "overlay", "-o", options, f"/{name}")
    run("ip", "link", "set", "lo", "up")
    for path, text in FILES.items():
        replace(Path(path), text)
    add_accounts()


def replace(path: Path, text: str) -> None:
    """Write a file anew: it may be a link to a place outside."""
    path.unlink(missing_ok=True)
    path.write_text(text)


def add_accounts() -> None:
    """Add the users and groups that this machine lacks."""
    passwd, group = Path("/etc/passwd"), Path("/etc/group")
    users, groups = _names(passwd), _names(group)
    number = _FIRST_ID
    for name in (*USERS, *GROUPS):
        number += 1
        if name not in groups:
            with group.open("a") as file:
                file.write(f"{name}:x:{number}:\n")
        if name in USERS and name not in users:
            with passwd.open("a") as file:
                file.write(f"{name}:x:{number}:{number}::/nonexistent:/usr/sbin/nologin\n")


def _names(path: Path) -> set[str]:
    return {line.partition(":")[0] for line in path.read_text().splitlines()}


def run(*command: str) -> None:
    """Run a program to its end."""
    subprocess.run(command, check=True)


def stay() -> None:
    """Take in every process that is left alone, until the namespace is ended."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        signal.sigwait({signal.SIGCHLD})


if __name__ == "__main__":
    make(Path(sys.argv[1]))
    print("ready", flush=True)
    stay()
