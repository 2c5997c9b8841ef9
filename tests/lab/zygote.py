"""Certbots that are forked from one that is loaded: many runs, each under a clock of its own.

Python and certbot take most of a second to start, under libfaketime more. Here they start once, and
every run is a fork, as good as a process of its own: it has its own environment, folders, output
and exit handlers.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from lab.certbot import Certbot
from lab.processes import Completed, LabError

# The folder that holds this package comes last: it must hide nothing.
SERVE = "import sys; sys.path.append(sys.argv[1]); from lab.zygote import serve; serve()"


class Zygote:
    """A process in which certbot and all plugins are loaded. Use it as a context manager."""

    def __init__(self, certbot: Certbot) -> None:
        self._certbot = certbot
        self._out = certbot.folder / "forked.out"
        # The clock is read from the environment at every look at it: that is how a fork sets it.
        env = certbot.env(faketime=timedelta(0)) | {"FAKETIME_NO_CACHE": "1"}
        self._process = subprocess.Popen(
            # When this process is gone, however it ended, so is the input, and that ends it.
            [sys.executable, "-c", SERVE, str(Path(__file__).parents[1])],
            env=env,
            cwd=certbot.home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Zygote:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def run(self, args: Sequence[str], env: Mapping[str, str], seconds: float = 120) -> Completed:
        """Run certbot to its end, in an environment and with the clock of ``Certbot.env()``."""
        command = self._certbot.arguments(*args)
        order = {
            "command": command,
            "env": {"FAKETIME": "+0s", **env},
            "home": str(self._certbot.home),
            "out": str(self._out),
            "seconds": int(seconds),
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise LabError(f"the process that forks certbots is gone: {self._process.wait()}")
        output = self._out.read_text(errors="replace")
        return Completed(("forked", *command), int(answer), output, "")


def serve() -> None:
    """Fork a certbot for each order (a line of JSON) from standard input; answer its exit code.

    The answer is negative where a signal ended it; one that hangs is ended by the alarm.
    """
    main = load()
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if not child:
            signal.alarm(order["seconds"])
            home, out = Path(order["home"]), Path(order["out"])
            be(main, order["command"], env=order["env"], home=home, out=out, err=out)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


@cache
def load() -> Callable[[list[str]], Any]:
    """Certbot's main function, itself and all plugins loaded."""
    from certbot._internal.plugins import disco
    from certbot.main import main

    disco.PluginsRegistry.find_all()
    return main


def be(
    main: Callable[[list[str]], Any],
    command: list[str],
    *,
    env: Mapping[str, str],
    home: Path,
    out: Path,
    err: Path,
    before: Callable[[], None] | None = None,
) -> NoReturn:
    """In a fork: be the program ``main``, called with ``command``, after ``before``, and end.

    What it prints goes to the files ``out`` and ``err``, which may be the same.
    """
    import certbot.util

    code = 70
    try:
        atexit._clear()  # those of the process that was forked
        vars(certbot.util)["_INITIAL_PID"] = os.getpid()  # else certbot skips its own
        os.chdir(home)
        os.environ.clear()
        os.environ.update(env)
        # Nobody has to wait for a CA next door as long as for one far away.
        time.sleep = partial(_nap, time.sleep)
        files = [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600) for path in (out, err)]
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(files[0], 1)
        os.dup2(files[0 if err == out else 1], 2)
        sys.argv = ["certbot", *command]
        sys.stdin = os.fdopen(0, "r", closefd=False)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        if before is not None:
            before()
        try:
            said = main(command)
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


def _nap(sleep: Callable[[float], None], seconds: float) -> None:
    sleep(min(seconds, 0.02))
