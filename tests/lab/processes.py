"""Programs: found, run to their end, or kept running and ended by their own process id."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

# Where Debian keeps servers; the PATH of an ordinary user lacks it.
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"

# What the caller's shell may hold and what would change what the lab's programs do.
DROPPED = (
    "LD_PRELOAD",
    "PYTHONPATH",
    "PYTHONHOME",
    "FAKETIME",
    "NSS_WRAPPER_HOSTS",
    "CERTBOT_PINKEEP_GUARD",  # the plugin is loaded in this process, too
)


class LabError(Exception):
    """The lab itself failed: nothing is proved about the plugin."""


@dataclass(frozen=True)
class Completed:
    """A program that ran to its end."""

    command: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Everything that it printed."""
        return self.stdout + self.stderr

    def check(self) -> Completed:
        """Return itself, or raise with everything that the program printed."""
        if self.returncode:
            raise LabError(f"{self}\n{self.output}")
        return self

    def __str__(self) -> str:
        return f"exit {self.returncode} from: {' '.join(self.command)}"


def program(name: str) -> str:
    """The path of a program; a missing one is an error, never a reason to skip a test."""
    path = shutil.which(name, path=os.environ.get("PATH", os.defpath) + os.pathsep + SBIN)
    if path is None:
        raise LabError(f"{name} is not installed: `./dev test` installs what the tests need")
    return path


def clean_env(**more: str) -> dict[str, str]:
    """This process's environment without proxies and preloads, and with ``more``."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in DROPPED and not name.lower().endswith("_proxy")
    }
    return kept | more


def preload(*, hosts: Path | None = None, faketime: timedelta | None = None) -> dict[str, str]:
    """Environment that gives one program its own names, its own clock, or both.

    ``hosts`` is read in place of ``/etc/hosts``; ``faketime`` is how far the clock is moved. Both
    are libraries loaded before the C library, so that neither root nor a namespace is needed.
    """
    libraries: list[str] = []
    env: dict[str, str] = {}
    if hosts is not None:
        libraries.append(_library("libnss_wrapper.so", "libnss-wrapper"))
        env["NSS_WRAPPER_HOSTS"] = str(hosts)
    if faketime is not None:
        _sweep_faketime()
        libraries.append(_library("faketime/libfaketime.so.1", "libfaketime"))
        env["FAKETIME"] = f"{faketime.total_seconds():+.0f}s"
        # Files keep their true times. The monotonic clock moves along: without that, libfaketime
        # 0.9.10 turns every sleep of Python 3.11 into an error.
        env["NO_FAKE_STAT"] = "1"
    return env | {"LD_PRELOAD": ":".join(libraries)} if libraries else env


def _sweep_faketime() -> None:
    """Remove what libfaketime keeps in shared memory for processes that are no more: it is named by
    their ids, and a later process with the same id would take over its clock."""
    for kept in Path("/dev/shm").glob("*faketime_s*_*"):
        if not Path("/proc", kept.name.rpartition("_")[2]).exists():
            with suppress(OSError):  # somebody else's, or gone
                kept.unlink()


def _library(name: str, package: str) -> str:
    """A preload library's path. The loader itself only warns of a missing one."""
    for path in sorted(Path("/usr/lib").glob(f"*-linux-gnu*/{name}")):
        return str(path)
    raise LabError(f"{package} is not installed: `./dev test` installs what the tests need")


def run(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    seconds: float = 120,
) -> Completed:
    """Run a program to its end; one that hangs is killed and is an error of the lab."""
    try:
        done = subprocess.run(
            command,
            env=clean_env() if env is None else env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"still running after {seconds:g} seconds: {' '.join(command)}") from error
    return Completed(tuple(command), done.returncode, done.stdout, done.stderr)


class Daemon:
    """A server that stays in the foreground, as a child of this process, its output in a file."""

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str]) -> None:
        self.log = log
        # The kernel ends the server when this process is killed and cannot clean up any more.
        self.command = [program("setpriv"), "--pdeathsig", "TERM", *command]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    def alive(self) -> bool:
        """True while it runs; what it printed, as an error, if it gave up by itself."""
        code = self._process.poll()
        if code is not None:
            said = self.log.read_text(errors="replace")
            raise LabError(f"exit {code} from: {' '.join(self.command)}\n{said}")
        return True

    def stop(self) -> None:
        """Ask it to end, and insist after a while."""
        if self._process.poll() is not None:
            return
        os.kill(self.pid, signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
