"""Whether the server runs that a command is to reload. A server that does not run is never started.

The rules:

* ``apache2ctl graceful`` starts an Apache that is stopped. So a default is only run where the server
  runs: the unit of systemd is active, or the process in the server's own pid file is that server's.
* Under systemd a unit that is active is reloaded by ``systemctl reload``.
* The same question is asked before an admin's own command where that is one of these well-known ones:
  ``systemctl reload UNIT``, ``service NAME reload``, Apache's control program with ``graceful``, and
  ``nginx -s reload``. Every other command is run as it was given.
* A pid file that is left over, and the process of another program, are no server that runs.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress

from certbot import util as certbot_util

from certbot_pinkeep.storage import atomic

#: Seconds that a question may take.
TIME_LIMIT = 20
_SYSTEMD = "/run/systemd/system"
_PROC = "/proc"
_APACHES = ("apache2ctl", "apachectl", "apache2", "httpd")
_UNITS = {"apache": ("apache2", "httpd"), "nginx": ("nginx",)}
# Where systems have it that do not let the control program tell.
_PID_FILES = ("/run/apache2/apache2.pid", "/run/httpd/httpd.pid", "/run/httpd.pid")
_LARGEST = 64  # bytes of a pid file

Words = tuple[str, ...]
#: Runs a question and gives its exit code and what it said.
Ask = Callable[[Words], tuple[int, str]]


def by_systemd(server: str, systemctl: str | None, default: Words) -> Words:
    """The command that reloads a server by default, as it is right now.

    :param server: ``apache`` or ``nginx``
    :param systemctl: the program; ``None``: there is none
    :param default: what does it without systemd
    """
    if systemctl is None or not os.path.isdir(_SYSTEMD):
        return default
    for unit in _UNITS.get(server, ()):
        if ask((systemctl, "is-active", "--quiet", unit))[0] == 0:
            return (systemctl, "reload", unit)
    return default


def is_stopped(words: Words) -> bool:
    """Whether this is a well-known command, and what it would reload does not run."""
    program, rest = os.path.basename(words[0]), words[1:]
    named = tuple(word for word in rest if not word.startswith("-"))
    if program == "systemctl" and named[:1] == ("reload",) and len(named) > 1:
        # 3: it is there, and not active.
        return all(ask((words[0], "is-active", "--quiet", one))[0] == 3 for one in named[1:])
    if program == "service" and len(rest) == 2 and rest[1] == "reload":
        return ask((words[0], rest[0], "status"))[0] == 3
    if program in _APACHES and rest[-1:] == ("graceful",):
        before = words[:-2] if rest[-2:-1] == ("-k",) else words[:-1]
        return not _any_runs(_apache_files(before), ("apache2", "httpd"))
    if program == "nginx" and rest[-2:] == ("-s", "reload"):
        return not _any_runs(_nginx_files(words[:-2]), ("nginx",))
    return False


def ask(words: Words) -> tuple[int, str]:
    """Run a command that only tells something; -1 where it cannot be run."""
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=certbot_util.env_no_snap_for_external_calls(),
            timeout=TIME_LIMIT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return -1, ""
    return done.returncode, done.stdout.decode(errors="replace")


def _apache_files(program: Words) -> Iterator[str]:
    """Apache's pid file, as it says itself; where it does not, where it is as a rule."""
    for words in (program, ("httpd", *program[1:])):
        said = ask((*words, "-t", "-D", "DUMP_RUN_CFG"))[1]
        found = re.search(r'^PidFile: "?([^"\n]+)"?$', said, re.M)
        if found:
            yield found[1]
            return
    yield from _PID_FILES


def _nginx_files(program: Words) -> Iterator[str]:
    """nginx's pid file: the one of its configuration, else the one that it was built with."""
    status, said = ask((*program, "-T"))
    found = re.search(r"^\s*pid\s+([^;]+);", said, re.M) if status == 0 else None
    found = found or re.search(r"--pid-path=(\S+)", ask((*program, "-V"))[1])
    if found:
        yield found[1].strip("\"'")


def _any_runs(pid_files: Iterator[str], programs: tuple[str, ...]) -> bool:
    return any(_runs(path, programs) for path in pid_files)


def _runs(pid_file: str, programs: tuple[str, ...]) -> bool:
    """Whether the process that the file names is one of these programs."""
    try:
        pid = int(_content(pid_file))
        name = _content(os.path.join(_PROC, str(pid), "comm")).strip()
        return name.startswith(programs) and not _is_dead(pid)
    except (OSError, ValueError):
        return False


def _is_dead(pid: int) -> bool:
    """Whether it has ended, and nobody has noticed."""
    with suppress(OSError):
        state = _content(os.path.join(_PROC, str(pid), "stat"), 4096).rpartition(")")[2].split()
        return state[:1] == ["Z"]
    return True


def _content(path: str, most: int = _LARGEST) -> str:
    return atomic.read(path, most).decode(errors="replace")
