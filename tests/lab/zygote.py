"""Fork certbots from one that is loaded: many runs, each under a clock of its own.

Python and certbot take most of a second to start, under libfaketime more. Here they start once, and
every run is a fork, as good as a process of its own: it has its own environment, folders, output
and exit handlers.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any, NoReturn

from lab.processes import Completed, LabError, clean_env, preload

Main = Callable[[list[str]], Any]

# The folder that holds this package comes last: it must hide nothing.
SERVE = "import sys; sys.path.append(sys.argv[1]); from lab.zygote import serve; serve()"


class Zygote:
    """A process in which certbot and all plugins are loaded. Use it as a context manager.

    It starts with the first run.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Zygote:
        return self

    def __exit__(self, *error: object) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def run(self, order: Order, seconds: float = 120) -> Completed:
        """Run a program to its end, with the clock of its environment."""
        process = self._process = self._process or _start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(order.text(int(seconds)) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise LabError(f"the process that forks certbots is gone: {process.wait()}")
        return order.completed(int(answer))


@dataclass(frozen=True)
class Order:
    """A run of certbot, or of the plugin's own command.

    :ivar program: a name of :data:`PROGRAMS`
    :ivar env: that of ``Certbot.env()``
    :ivar err: the file for standard error; it may be the one for standard output
    """

    program: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    home: Path
    out: Path
    err: Path

    def text(self, seconds: int) -> str:
        """Write it as a line of JSON."""
        # Without a clock of its own it has that of the machine.
        fields = {**vars(self), "env": {"FAKETIME": "+0s", **self.env}, "seconds": seconds}
        return json.dumps(fields, default=str)

    def completed(self, returncode: int) -> Completed:
        """Read what it printed. ``returncode`` is negative if a signal ended it."""
        said = [path.read_text(errors="replace") for path in dict.fromkeys((self.out, self.err))]
        return Completed(("forked", *self.command), returncode, said[0], "".join(said[1:]))


def fork(order: Order, before: Callable[[], None] | None = None) -> Completed:
    """Run it in a fork of this process, after ``before``."""
    main = PROGRAMS[order.program]()
    child = os.fork()
    if not child:
        be(main, order, before)
    _, status = os.waitpid(child, 0)
    return order.completed(os.waitstatus_to_exitcode(status))


def _start() -> subprocess.Popen[str]:
    # The clock is read from the environment at every look at it: that is how a fork sets it.
    env = clean_env(**preload(faketime=timedelta(0))) | {"FAKETIME_NO_CACHE": "1"}
    return subprocess.Popen(
        # When this process is gone, however it ended, so is the input, and that ends it.
        [sys.executable, "-c", SERVE, str(Path(__file__).parents[1])],
        env=env,
        # Python imports from the working directory first: the work tree must not hide the wheel.
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def serve() -> None:
    """Fork for each order (a line of JSON) from standard input; answer its exit code.

    The answer is negative if a signal ended it; one that hangs is ended by the alarm.
    """
    for line in sys.stdin:
        told: dict[str, Any] = json.loads(line)
        home, out, err = (Path(told[name]) for name in ("home", "out", "err"))
        order = Order(told["program"], told["command"], told["env"], home, out, err)
        main = PROGRAMS[order.program]()
        child = os.fork()
        if not child:
            signal.alarm(told["seconds"])
            be(main, order)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


@cache
def load() -> Main:
    """Load certbot, all plugins, and all of pinkeep; return certbot's main function."""
    from certbot._internal.plugins import disco
    from certbot.main import main

    import certbot_pinkeep
    from certbot_pinkeep.core.errors import PinkeepError

    disco.PluginsRegistry.find_all()
    # A fork finds what it imports late. Real processes show that nothing is imported too early.
    for module in pkgutil.walk_packages(certbot_pinkeep.__path__, "certbot_pinkeep."):
        with suppress(ImportError, PinkeepError):  # an extra that is not installed
            importlib.import_module(module.name)
    return main


@cache
def load_command() -> Main:
    """Load the same; return the main function of the plugin's own command."""
    load()
    from certbot_pinkeep.cli.main import main

    return main


#: What can be run, by the name of its program.
PROGRAMS: dict[str, Callable[[], Main]] = {"certbot": load, "certbot-pinkeep": load_command}


def be(main: Main, order: Order, before: Callable[[], None] | None = None) -> NoReturn:
    """In a fork: be the ordered program, after ``before``, and end."""
    import certbot.compat.os
    import certbot.util

    code = 70
    try:
        gc.freeze()  # what is not looked at stays shared with the process that was forked
        atexit._clear()  # those of that process
        vars(certbot.util)["_INITIAL_PID"] = os.getpid()  # else certbot skips its own
        os.chdir(order.home)
        os.environ.clear()
        os.environ.update(order.env)
        # Nobody has to wait for a CA next door as long as for one far away.
        time.sleep = partial(_nap, time.sleep)
        # No power failure is tried: a process that is killed loses nothing that it has written.
        for module in (os, certbot.compat.os):
            vars(module)["fsync"] = _already_synced
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        files = [os.open(path, flags, 0o600) for path in (order.out, order.err)]
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(files[0], 1)
        os.dup2(files[0 if order.err == order.out else 1], 2)
        sys.argv = [order.program, *order.command]
        sys.stdin = os.fdopen(0, "r", closefd=False)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        if before is not None:
            before()
        try:
            said = main(list(order.command))
            code = said if isinstance(said, int) else int(bool(said))
            if isinstance(said, str):
                print(said, file=sys.stderr)
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else int(bool(leaving.code))
            if isinstance(leaving.code, str):
                print(leaving.code, file=sys.stderr)
        except (Exception, KeyboardInterrupt):
            code = 1
            with suppress(SystemExit):
                sys.excepthook(*sys.exc_info())  # certbot's own
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException as error:
        os.write(2, repr(error).encode())
    os._exit(code)


def _already_synced(descriptor: int) -> None:
    """Stand in for ``os.fsync``, for which a slow disk would have to be waited."""


def _nap(sleep: Callable[[float], None], seconds: float) -> None:
    sleep(min(seconds, 0.02))
