"""A network, a file system and processes of the lab's own. Use it as a context manager.

Every port is free there, and the servers that :mod:`lab.unpacked` fetched look installed, with their
configuration in ``/etc``. The machine's network is out of reach. What is written to ``/usr``, ``/etc``,
``/var``, ``/run`` or ``/dev/shm`` is gone in the end, and so is every process. Other folders, such as
``/tmp``, are the machine's own.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import Any, TypeVar

from lab import unpacked
from lab.processes import Completed, Daemon, LabError, clean_env, program, run
from lab.waiting import wait_for

T = TypeVar("T")
_INSIDE = Path(__file__).with_name("inside.py")


class Namespace:
    """Where programs run in a world of their own::

    with Namespace() as ns:
        ns.path("/etc/postfix/main.cf").write_text(…)
        ns.run(["postfix", "start"]).check()
        server = ns.start(["named", "-g", "-c", …], log)
        found = ns.call(function, argument, …)
    """

    def __init__(self) -> None:
        self._process: Popen[bytes] | None = None

    def __enter__(self) -> Namespace:
        if os.geteuid() != 0:
            raise LabError("a namespace needs root")
        if not unpacked.is_there():
            raise LabError(
                f"{unpacked.FOLDER} is missing: `./dev test` fetches what the tests need"
            )
        command = [
            # The kernel ends it when this process is killed and cannot clean up any more.
            *(program("setpriv"), "--pdeathsig", "KILL"),
            *(program("unshare"), "--net", "--mount", "--pid", "--fork", "--kill-child"),
            *("--mount-proc", sys.executable, "-I", str(_INSIDE), str(unpacked.FOLDER / "root")),
        ]
        self._process = Popen(command, env=_env(), stdin=DEVNULL, stdout=PIPE)
        assert self._process.stdout
        if self._process.stdout.readline() != b"ready\n":
            self._end()
            raise LabError(f"exit {self._process.returncode} from: {' '.join(command)}")
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def _end(self) -> None:
        """End every process in it: the kernel does once the first one is gone."""
        assert self._process and self._process.stdout
        self._process.kill()
        # Each of them may hold the other end: this waits for the last one.
        self._process.stdout.read()
        self._process.stdout.close()
        self._process.wait()

    @property
    def _proc(self) -> Path:
        assert self._process
        return Path("/proc", str(self._process.pid))

    def path(self, inside: str) -> Path:
        """Return where a file of the namespace is seen from outside."""
        return self._proc / "root" / inside.lstrip("/")

    def add_address(self, address: str) -> None:
        """Give it an address; it has those of 127.0.0.0/8, as far as no program looks for them."""
        width, more = ("128", ["nodad"]) if ":" in address else ("32", [])
        self.run(["ip", "addr", "replace", f"{address}/{width}", "dev", "lo", *more]).check()

    def command(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs another one in it."""
        space = self._proc / "ns"
        return [
            program("nsenter"),
            *(f"--net={space}/net", f"--mount={space}/mnt", f"--pid={space}/pid_for_children"),
            f"--root={self._proc}/root",  # a namespace forgets a chroot
            *("env", "-C", "/", *command),
        ]

    def _split(
        self, command: Sequence[str], env: Mapping[str, str] | None
    ) -> tuple[list[str], dict[str, str]]:
        """Return the command to run out here, and its environment.

        A library that is loaded first is loaded in there only: libfaketime goes by process ids.
        """
        outside = dict(_env() if env is None else env)
        inside = [f"{name}={outside.pop(name)}" for name in ("LD_PRELOAD",) if name in outside]
        return self.command([*inside, *command]), outside

    def run(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        seconds: float = 120,
    ) -> Completed:
        """Run a program to its end. What it leaves running stays until the namespace ends."""
        words, env = self._split(command, env)
        done = run(words, env=env, seconds=seconds)
        return Completed(tuple(command), done.returncode, done.stdout, done.stderr)

    def start(
        self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None
    ) -> Daemon:
        """Start a server that stays in the foreground."""
        words, env = self._split(command, env)
        return _Entered(words, log, env)

    def call(self, function: Callable[..., T], *args: Any, **more: Any) -> T:
        """Return what a function of Python's returns in it, in a process of its own.

        :raises LabError: if the function raises, with its traceback
        """
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            with open(writer, "wb") as answer:
                answer.write(self._answer(lambda: function(*args, **more)))
            os._exit(0)
        os.close(writer)
        with open(reader, "rb") as got:
            told = got.read()
        os.waitpid(child, 0)
        if not told:
            raise LabError(f"{function} ended its process")
        returned, result = pickle.loads(told)
        if not returned:
            raise LabError(result)
        return result  # type: ignore[no-any-return]

    def _answer(self, function: Callable[[], object]) -> bytes:
        try:
            self._enter()
            return pickle.dumps((True, function()))
        except BaseException:
            return pickle.dumps((False, traceback.format_exc()))

    def _enter(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        root = os.open(self._proc / "root", os.O_RDONLY)
        spaces = [os.open(self._proc / "ns" / name, os.O_RDONLY) for name in ("net", "mnt")]
        for space in spaces:
            if libc.setns(space, 0):
                raise OSError(ctypes.get_errno(), "setns")
            os.close(space)
        os.fchdir(root)
        os.close(root)
        os.chroot(".")


class _Entered(Daemon):
    """A server that another process brought into a namespace, and waits for."""

    @property
    def pid(self) -> int:
        """The server's process id, as it is outside."""
        waiting = super().pid
        children = Path(f"/proc/{waiting}/task/{waiting}/children")

        def child() -> str:
            with suppress(OSError):
                return children.read_text()
            return ""

        return int(wait_for(lambda: self.alive() and child(), "a process in the namespace"))


def _env() -> dict[str, str]:
    path = os.environ.get("PATH", os.defpath)
    return clean_env(PATH=f"{path}:/usr/local/sbin:/usr/sbin:/sbin")
