"""Which certbots this machine runs by itself or by an admin's hand, and whether they load the plugin.

The rules:

* ``core.certbot_calls`` says what a job of certbot is. Each job counts, wherever it stands: in a timer of
  systemd, or in a table of cron, of a user or of anacron. So does a job in a folder of cron, or in a script
  that one of these runs.
* A timer counts if it is enabled, and neither the timer nor its service is masked. Its drop-ins count as
  systemd reads them.
* Debian's job of cron counts only if systemd does not run, as the job says itself. A table of anacron counts
  if anacron is installed. In the folders of cron a script counts if ``run-parts`` runs it.
* A job for another folder of certbot is none of this one.
* A certbot is a script: the Python that it names says whether it has the plugin. pinkeep asks that Python as
  cron and systemd would start it, without the environment of the admin. What is no such script (snap) does
  not load it. A script of the shell that becomes a certbot is that certbot.
* What is larger than a megabyte is no script and no table. So no program that cron runs each minute, and no
  table that a user fills, holds up a check.
* Nothing is started but that Python, and nothing is written. If other users can change the Python or a script
  that names it, nothing is started: they would be whoever runs this. Then the files beside that Python tell.
"""

from __future__ import annotations

import glob
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from certbot_pinkeep.core import certbot_calls
from certbot_pinkeep.core.certbot_calls import Call
from certbot_pinkeep.storage import atomic, trust

#: Where the folders below begin.
ROOT = "/"
_UNITS = (
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PATH_OF_USERS = "/usr/bin:/bin"
#: The tables of cron: whose they are, and which search path cron sets.
_TABLES = {
    "etc/crontab": ("system", _PATH),
    "etc/cron.d/*": ("system", _PATH),
    "etc/anacrontab": ("anacron", _PATH),
    "var/spool/cron/crontabs/*": ("user", _PATH_OF_USERS),
    "var/spool/cron/*": ("user", _PATH_OF_USERS),
}
_FOLDERS = ("etc/cron.hourly/*", "etc/cron.daily/*", "etc/cron.weekly/*", "etc/cron.monthly/*")
# cron and run-parts of Debian pass over other names: a copy that an editor left, say, or renew.sh.
_RUN_BY_DEBIAN = re.compile(r"[\w-]+", re.A)
_WITH_PATH = f"{_PATH}:/snap/bin"
_SCRIPT = re.compile(r"#!.*\b(?:ba|da|a|k|z)?sh\b")
_DEEPEST = 3
# What a script of the shell becomes: certbot, or its Python (pip writes that if the path is long).
_EXEC_IN_SHELL = re.compile(
    r"^[ \t']*exec'?[ \t]+(?:\"(?P<quoted>/[^\"$]+)\"|(?P<bare>/[^\s\"'$]+))", re.M
)
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
    :ivar keeps_key: whether that certbot keeps pinned keys without the plugin
    :ivar config_dir: the folder that it names for certbot; empty: the usual one
    """

    where: str
    program: str
    loads: bool = False
    timer: str = ""
    keeps_key: bool = True
    config_dir: str = ""

    @property
    def is_snap(self) -> bool:
        """Say whether that certbot is snap's."""
        return os.path.basename(os.path.realpath(self.program)) == "snap"


def callers(config_dir: str) -> list[Caller]:
    """Find what runs a certbot on this machine.

    :param config_dir: the folder of certbot whose certificates it renews
    """
    found = [*_timers(), *_jobs()]
    hand = shutil.which("certbot", path=_search(_WITH_PATH))
    if hand:
        found.append(Caller(hand, hand))
    own = os.path.realpath(config_dir)
    wanted = [one for one in dict.fromkeys(found) if os.path.realpath(one.config_dir or own) == own]
    loads = {program: loads_plugin(program) for program in {one.program for one in wanted}}
    return [replace(one, loads=loads[one.program]) for one in wanted]


def loads_plugin(program: str) -> bool:
    """Say whether a certbot loads the plugin, as far as that can be known."""
    with suppress(OSError, ValueError, subprocess.SubprocessError):
        words, scripts = _python_of(program)
        if not words or not os.path.isabs(words[0]):
            return False
        if any(map(trust.exposed, (*scripts, words[0]))):
            return _has_plugin(words[0])
        done = subprocess.run(
            [*words, "-c", _ASK],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=20,
            cwd="/",  # what is in this folder is not what that certbot has
            env={"PATH": _PATH, "LC_ALL": "C.UTF-8"},  # as cron: without PYTHONPATH and the like
            check=False,
        )
        return done.returncode == 0
    return False


def _has_plugin(python: str) -> bool:
    """Say whether the plugin is installed for a Python, which is not started."""
    around = glob.escape(os.path.dirname(os.path.dirname(python)))
    return bool(glob.glob(f"{around}/lib*/python*/*-packages/certbot_pinkeep-*.*-info"))


def _python_of(program: str) -> tuple[list[str], list[str]]:
    """Return the words that start the Python of a certbot, and the scripts that say so; empty: unknown."""
    scripts: list[str] = []
    for _ in range(3):  # a script of the shell may lead to another one
        if os.path.basename(program).startswith("python"):
            return [program], scripts
        scripts.append(program)
        text = _text(os.path.realpath(program))
        first = text.partition("\n")[0]
        words = shlex.split(first[2:]) if first.startswith("#!") else []
        if "python" in " ".join(words):
            return words, scripts
        found = _EXEC_IN_SHELL.search(text) if words else None
        if not found:
            break
        program = found["quoted"] or found["bare"]
    return [], scripts


def _timers() -> Iterator[Caller]:
    """Yield the services of enabled timers that run a certbot, by the file with the command."""
    wants = [
        path
        for folder in _UNITS
        for kind in ("wants", "requires")
        for path in sorted(glob.glob(_at(f"{folder}/*.{kind}/*.timer")))
    ]
    for timer in dict.fromkeys(map(os.path.basename, wants)):
        of_timer = _unit(timer)
        service = _unit(certbot_calls.unit_of(list((of_timer or {}).values()), timer))
        if of_timer is None or not service:
            continue
        for command in certbot_calls.of_units(list(service.values())):
            where = [path for path, text in service.items() if command in text] or list(service)
            yield from _certbots(certbot_calls.of_shell(command), where[-1], _PATH, timer=timer)


def _unit(name: str) -> dict[str, str] | None:
    """Return the files of a unit with their texts, in the order in which systemd reads them; ``None``: the
    unit is masked."""
    template = re.sub("@.*(?=[.])", "@", name)
    names = dict.fromkeys((name, template))
    paths = [_at(os.path.join(folder, one)) for one in names for folder in _UNITS]
    own = next(filter(os.path.lexists, paths), "")
    if own and _is_masked(own):
        return None
    more: dict[str, str] = {}
    for one in reversed(names):
        for folder in reversed(_UNITS):  # of one name, the first folder's counts
            for path in glob.glob(_at(f"{folder}/{glob.escape(one)}.d/*.conf")):
                more[os.path.basename(path)] = path
    found = [own, *(more[one] for one in sorted(more) if not _is_masked(more[one]))]
    return {path: _text(path) for path in found if path}


def _is_masked(path: str) -> bool:
    return os.path.realpath(path) == os.devnull or (
        os.path.isfile(path) and not os.path.getsize(path)
    )


def _jobs() -> Iterator[Caller]:
    """Yield what cron and anacron run a certbot with."""
    systemd = os.path.isdir(_at("run/systemd/system"))
    debian = os.path.exists(_at("etc/debian_version"))
    for pattern, (table, usual) in _TABLES.items():
        for path in sorted(glob.glob(_at(pattern))):
            name = os.path.basename(path)
            if "/cron.d/" in path and debian and not _RUN_BY_DEBIAN.fullmatch(name):
                continue
            if table == "anacron" and not os.path.exists(_at("usr/sbin/anacron")):
                continue
            for command, search in certbot_calls.of_table(_text(path), table):
                if not (systemd and "/run/systemd/system" in command):
                    calls = certbot_calls.of_shell(command)
                    yield from _certbots(calls, path, search or usual)
    for pattern in _FOLDERS:
        for path in sorted(glob.glob(_at(pattern))):
            named = not debian or _RUN_BY_DEBIAN.fullmatch(os.path.basename(path))
            if named and os.access(path, os.X_OK):
                yield from _certbots([Call(path)], path, _PATH)


def _certbots(
    calls: Iterable[Call], where: str, path: str, *, timer: str = "", depth: int = 0
) -> Iterator[Caller]:
    """Yield the certbots among what is called, also by scripts.

    :param path: the search path
    """
    for call in calls:
        program = _which(call.program, path)
        if not program:
            continue
        if call.is_certbot and os.path.exists(program):
            yield Caller(where, program, False, timer, call.keeps_key, call.config_dir)
        elif not call.is_certbot and depth < _DEEPEST:
            inner = certbot_calls.of_shell(_script(program))
            yield from _certbots(inner, where, path, timer=timer, depth=depth + 1)


def _script(path: str) -> str:
    """Return the text of a script of the shell that may run a certbot; empty: it is none."""
    text = _text(os.path.realpath(path))
    mentioned = "certbot" in text or "letsencrypt" in text
    return text if mentioned and _SCRIPT.match(text) else ""


def _which(program: str, path: str) -> str:
    """Return the full path of a program; empty: it is not there, and was not named with its path."""
    if os.path.isabs(program):
        return program if program.startswith(_at("")) else _at(program.lstrip("/"))
    return shutil.which(program, path=_search(path)) or ""


def _search(path: str) -> str:
    """Return a search path of this machine."""
    return os.pathsep.join(_at(folder.lstrip("/")) for folder in path.split(os.pathsep) if folder)


def _at(path: str) -> str:
    return os.path.join(ROOT, path)


def _text(path: str) -> str:
    return atomic.content(path).decode("utf-8", errors="replace")
