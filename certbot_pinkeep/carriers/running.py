"""Run the commands of servers, and find out whether a server runs. pinkeep never starts a server.

The rules:

* ``apache2ctl graceful`` starts an Apache that does not run. So pinkeep runs a default command only if the
  server runs: its systemd unit is active, or the process in its pid file is that server.
* If the systemd unit is active, ``systemctl reload`` reloads the server.
* pinkeep asks the same before an admin's command that it knows: ``systemctl reload UNIT``, ``service NAME
  reload``, Apache's control program with ``graceful``, ``nginx -s reload``, ``postfix reload``, and ``doveadm
  reload``. It runs every other command as the admin gave it.
* A pid file without its process, or with another program's process, does not count as a server that runs.
* A command runs without a shell and with a time limit. After that limit pinkeep ends the command and all
  its children.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress

from certbot import util as certbot_util

from certbot_pinkeep.storage import atomic

#: Seconds that a question may take.
TIME_LIMIT = 20
_SYSTEMD = "/run/systemd/system"
_PROC = "/proc"
#: How a mail server's program tells whether the server runs, and the exit code if it does not.
_MAIL = {"postfix": (("status",), 1), "doveadm": (("service", "status"), 75)}
_APACHES = ("apache2ctl", "apachectl", "apache2", "httpd")
_UNITS = {"apache": ("apache2", "httpd"), "nginx": ("nginx",)}
# The pid files of systems whose control program does not name its pid file.
_PID_FILES = ("/run/apache2/apache2.pid", "/run/httpd/httpd.pid", "/run/httpd.pid")
_MOST = atomic.LARGEST  # bytes of what a command says: nginx tells its whole configuration

Words = tuple[str, ...]


def by_systemd(server: str, systemctl: str | None, default: Words) -> Words:
    """Return the command that reloads a server by default, as the server runs right now.

    :param server: ``apache`` or ``nginx``
    :param systemctl: the program; ``None``: there is none
    :param default: the command without systemd
    """
    if systemctl is None or not os.path.isdir(_SYSTEMD):
        return default
    for unit in _UNITS.get(server, ()):
        if ask((systemctl, "is-active", "--quiet", unit))[0] == 0:
            return (systemctl, "reload", unit)
    return default


def is_stopped(words: Words) -> bool:
    """Say whether this is a command that pinkeep knows, and its server does not run."""
    program, rest = os.path.basename(words[0]), words[1:]
    named = tuple(word for word in rest if not word.startswith("-"))
    if program == "systemctl" and named[:1] == ("reload",) and len(named) > 1:
        # 3: the unit exists, and is not active.
        return all(ask((words[0], "is-active", "--quiet", one))[0] == 3 for one in named[1:])
    if program == "service" and len(rest) == 2 and rest[1] == "reload":
        return ask((words[0], rest[0], "status"))[0] == 3
    if program in _MAIL and rest[-1:] == ("reload",):
        question, stopped = _MAIL[program]
        return ask((*words[:-1], *question))[0] == stopped
    if program in _APACHES and rest[-1:] == ("graceful",):
        before = words[:-2] if rest[-2:-1] == ("-k",) else words[:-1]
        return not _any_runs(_apache_files(before), ("apache2", "httpd"))
    if program == "nginx" and rest[-2:] == ("-s", "reload"):
        return not _any_runs(_nginx_files(words[:-2]), ("nginx",))
    return False


def ask(words: Words) -> tuple[int, str]:
    """Run a command that changes nothing; -1: it cannot be run."""
    try:
        return run(words, TIME_LIMIT)
    except OSError:  # TimeoutError is such
        return -1, ""


def run(words: Sequence[str], seconds: float) -> tuple[int, str]:
    """Run a command, and return its status and the end of what it said.

    :raises TimeoutError: if it takes longer; pinkeep has ended it and all its children
    :raises OSError: if it cannot be run
    """
    # Output goes to a file: a daemon that keeps a pipe open must not make pinkeep wait.
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=certbot_util.env_no_snap_for_external_calls(),
            start_new_session=True,
        )
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise TimeoutError from None
        output.seek(max(0, output.seek(0, os.SEEK_END) - _MOST))
        return status, output.read().decode(errors="replace")


def _apache_files(program: Words) -> Iterator[str]:
    """Return Apache's pid file as Apache names it, or the usual ones."""
    for words in (program, ("httpd", *program[1:])):
        said = ask((*words, "-t", "-D", "DUMP_RUN_CFG"))[1]
        found = re.search(r'^PidFile: "?([^"\n]+)"?$', said, re.M)
        if found:
            yield found[1]
            return
    yield from _PID_FILES


def _nginx_files(program: Words) -> Iterator[str]:
    """Return nginx's pid file: by its configuration, or as it was built."""
    status, said = ask((*program, "-T"))
    found = re.search(r"^\s*pid\s+([^;]+);", said, re.M) if status == 0 else None
    found = found or re.search(r"--pid-path=(\S+)", ask((*program, "-V"))[1])
    if found:
        yield found[1].strip("\"'")


def _any_runs(pid_files: Iterator[str], programs: tuple[str, ...]) -> bool:
    return any(_runs(path, programs) for path in pid_files)


def _runs(pid_file: str, programs: tuple[str, ...]) -> bool:
    """Say whether the process in a pid file is one of these programs. A process that has ended is none, also
    if its parent has not waited for it."""
    try:
        pid = int(_content(pid_file))
        stat = _content(os.path.join(_PROC, str(pid), "stat"))
    except (OSError, ValueError):
        return False
    name, _, rest = stat.partition("(")[2].rpartition(")")
    return name.startswith(programs) and rest.split()[:1] != ["Z"]


def _content(path: str) -> str:
    return atomic.read(path).decode(errors="replace")
