"""Which certbots this machine runs by itself or by an admin's hand, and whether they load the plugin.

The rules:

* A timer of systemd counts if it is enabled. Debian's job of cron counts only if systemd does not run, as
  the job says itself.
* A certbot is a script: the Python that it names says whether it has the plugin. What is no such script
  (snap) does not load it. A script of the shell that becomes a certbot is that certbot. The timer of snap
  names no file of certbot.
* Nothing is started but that Python, and nothing is written.
"""

from __future__ import annotations

import glob
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from certbot_pinkeep.storage import atomic

#: Where the folders below begin.
ROOT = "/"
_UNITS = (
    "etc/systemd/system",
    "run/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
)
_CRON = (
    "etc/crontab",
    "etc/cron.d/*",
    "etc/cron.hourly/*",
    "etc/cron.daily/*",
    "etc/cron.weekly/*",
    "etc/cron.monthly/*",
    "var/spool/cron/crontabs/root",
    "var/spool/cron/root",
)
_BY_HAND = "usr/bin/certbot"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_EXEC = re.compile(r"^ExecStart[ \t]*=[ \t]*[-@:+!]*(?P<command>.*)$", re.M)
_CALL = re.compile(r"(?:^|[\s;&|(])(?P<program>(?:/\S*/)?certbot)\s+(?:[^\s;&|]+\s+)*?renew\b")
_SNAP_CALL = re.compile(r"(?:^|[\s;&|(/])snap\s+run\s+(?:\S+\s+)*?certbot\.renew\b")
# What a script of the shell becomes: certbot, or its Python (pip writes that if the path is long).
_EXEC_IN_SHELL = re.compile(
    r"^[ \t']*exec'?[ \t]+(?:\"(?P<quoted>/[^\"$]+)\"|(?P<bare>/[^\s\"'$]+))", re.M
)
_OF_SNAP = "snap/bin/certbot"
_ASK = (
    "import sys; from importlib import metadata; found = metadata.entry_points(); "
    "found = found.select(group='certbot.plugins'); sys.exit(not any(e.name == 'pinkeep' for e in found))"
)


@dataclass(frozen=True)
class Caller:
    """What runs a certbot.

    :ivar where: the file of the timer's service or of cron; for a person the program itself
    :ivar timer: the timer of systemd; empty: it is none
    :ivar program: the certbot that it runs
    :ivar loads: whether that certbot loads the plugin
    """

    where: str
    program: str
    loads: bool
    timer: str = ""

    @property
    def is_snap(self) -> bool:
        """Say whether that certbot is snap's."""
        return os.path.basename(os.path.realpath(self.program)) == "snap"


def callers() -> list[Caller]:
    """Find what runs a certbot on this machine."""
    found = [*_timers(), *_jobs()]
    hand = _at(_BY_HAND)
    if os.path.exists(hand):
        found.append((hand, hand, ""))
    answers: dict[str, bool] = {}
    for _, program, _ in found:
        if program not in answers:
            answers[program] = loads_plugin(program)
    return [Caller(where, program, answers[program], timer) for where, program, timer in found]


def loads_plugin(program: str) -> bool:
    """Say whether a certbot loads the plugin, as far as that can be known."""
    with suppress(OSError, ValueError, subprocess.SubprocessError):
        words = _python_of(program)
        if not words:
            return False
        done = subprocess.run(
            [*words, "-c", _ASK],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=20,
            cwd="/",  # what is in this folder is not what that certbot has
            check=False,
        )
        return done.returncode == 0
    return False


def _python_of(program: str) -> list[str]:
    """Return the words that start the Python of a certbot; empty: unknown."""
    for _ in range(3):  # a script of the shell may lead to another one
        text = _read(os.path.realpath(program))
        first = text.partition("\n")[0]
        words = shlex.split(first[2:]) if first.startswith("#!") else []
        if "python" in " ".join(words):
            return words
        found = _EXEC_IN_SHELL.search(text) if words else None
        if not found:
            break
        program = found["quoted"] or found["bare"]
        if os.path.basename(program).startswith("python"):
            return [program]
    return []


def _timers() -> Iterator[tuple[str, str, str]]:
    """Yield the services of enabled timers that renew: their file, their certbot, and the timer."""
    for wants in glob.glob(_at("etc/systemd/system/*.wants/*.timer")):
        timer = os.path.basename(wants)
        unit = f"{timer.removesuffix('.timer')}.service"
        paths = [os.path.join(_at(folder), unit) for folder in _UNITS]
        path = next(filter(os.path.lexists, paths), "")
        own = sorted(glob.glob(os.path.join(_at("etc/systemd/system"), f"{unit}.d", "*.conf")))
        for one in [*reversed(own), path]:  # the last that names a command counts
            commands = [m["command"] for m in _EXEC.finditer(_text(one))]
            program = _program(" ; ".join(commands))
            if program:
                yield one, program, timer
            if any(commands):
                break


def _jobs() -> Iterator[tuple[str, str, str]]:
    systemd = os.path.isdir(_at("run/systemd/system"))
    for pattern in _CRON:
        for path in sorted(glob.glob(_at(pattern))):
            for line in _text(path).splitlines():
                if line.lstrip().startswith("#") or (systemd and "/run/systemd/system" in line):
                    continue
                program = _program(line)
                if program:
                    yield path, program, ""
                    break


def _program(command: str) -> str:
    """Return the certbot that a command renews with; empty: none that is there."""
    command = command.replace("'", " ").replace('"', " ")
    if _SNAP_CALL.search(command):
        return _at(_OF_SNAP)
    found = _CALL.search(command)
    if not found:
        return ""
    if os.path.isabs(found["program"]):
        return _at(found["program"].lstrip("/"))
    path = os.pathsep.join(_at(folder.lstrip("/")) for folder in _PATH.split(os.pathsep))
    return shutil.which(found["program"], path=path) or ""


def _at(path: str) -> str:
    return os.path.join(ROOT, path)


def _text(path: str) -> str:
    with suppress(OSError):
        return _read(path)
    return ""


def _read(path: str) -> str:
    return atomic.read(path, atomic.MEDIUM).decode("utf-8", errors="replace")
