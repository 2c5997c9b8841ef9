"""Find which certbot a line of a shell, of cron or of systemd runs, and what for. Pure.

The one rule: a command is a job of certbot if its program is a certbot, and its verb obtains certificates.

* A certbot is called ``certbot`` or ``letsencrypt``, with or without ``-auto``, or is run as a module of
  Python. ``snap run certbot.renew`` is the one of snap.
* The verbs ``renew``, ``certonly`` and ``run`` obtain certificates. Without a verb certbot takes ``run``. A
  call with ``--dry-run``, ``--help`` or ``--version`` obtains none.
* The program is the first word of a command. Words in front of it, such as ``sudo`` or ``timeout 300``, only
  start it. ``sh -c`` and ``su -c`` run a text, which is read in the same way.
* A program that is no certbot may be a script that runs one: its path is told.
* A certbot in a container or on another machine (``docker``, ``ssh``) is none of this machine.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

#: What a call of snap stands for.
SNAP = "/snap/bin/certbot"
_NAMES = ("certbot", "letsencrypt", "certbot-auto", "letsencrypt-auto")
_OBTAINING = ("renew", "certonly", "auth", "run", "everything")
_OTHER_VERBS = (
    *("certificates", "config_changes", "delete", "enhance", "install", "plugins", "reconfigure"),
    *("register", "revoke", "rollback", "show_account", "unregister", "update_account"),
    "update_symlinks",
)
_OBTAINS_NONE = frozenset({"--dry-run", "--help", "-h", "--version"})
#: Words of the shell in front of a command, and programs that start another one.
_RESERVED = ("if", "then", "else", "elif", "do", "while", "until", "!", "{", "$")
_STARTERS = (
    *(
        ".",
        "source",
        "sudo",
        "doas",
        "env",
        "nice",
        "ionice",
        "chrt",
        "timeout",
        "chronic",
        "flock",
    ),
    *("exec", "time", "command", "nohup", "setsid", "stdbuf"),
    *("systemd-cat", "systemd-inhibit", "systemd-run"),
)
_SHELLS = frozenset(["sh", "bash", "dash", "ash", "zsh", "ksh", "su", "runuser"])
_PYTHON = re.compile(r"python[\d.]*")
_ASSIGNMENT = re.compile(r"\w+=")
_TEXT = re.compile(r"-[a-z]*c")
_DEEPEST = 4
# Lines of cron: when, who (in the system's own tables only), what.
_SET = re.compile(r"\s*(?P<name>\w+)\s*=\s*(?P<value>.*?)\s*$")
_WHEN = r"\s*(?:@\w+|(?:\S+\s+){4}\S+)\s+"
_OF_USER = re.compile(rf"{_WHEN}(?P<command>.+)")
_OF_SYSTEM = re.compile(rf"{_WHEN}\S+\s+(?P<command>.+)")
_OF_ANACRON = re.compile(r"\s*\S+\s+\d+\s+\S+\s+(?P<command>.+)")
#: The tables that cron and anacron read.
TABLES = {"user": _OF_USER, "system": _OF_SYSTEM, "anacron": _OF_ANACRON}
_PERCENT = re.compile(r"(?<!\\)%.*", re.S)


@dataclass(frozen=True)
class Call:
    """A call of a program.

    :ivar program: as it is written
    :ivar is_certbot: whether the program is a certbot; else the program may be a script that runs one
    :ivar keeps_key: whether a certbot without the plugin renews pinned certificates with their keys
    :ivar config_dir: the folder that certbot is given; empty: its usual one
    """

    program: str
    is_certbot: bool = False
    keeps_key: bool = True
    config_dir: str = ""


def of_table(text: str, table: str) -> Iterator[tuple[str, str]]:
    """Yield the commands of a table, each with the search path that the table sets; empty: none.

    :param table: whose it is, a key of :data:`TABLES`
    """
    path = ""
    for line in text.splitlines():
        found = TABLES[table].match(line)
        setting = _SET.match(line)
        if line.lstrip().startswith("#"):
            continue
        if setting:
            path = setting["value"].strip("\"'") if setting["name"] == "PATH" else path
        elif found:
            yield _PERCENT.sub("", found["command"]).replace("\\%", "%"), path


def of_units(texts: Sequence[str]) -> list[str]:
    """Return the commands of a service of systemd.

    :param texts: of its unit, and of its drop-ins in the order in which systemd reads them
    """
    found: dict[str, list[str]] = {}
    for text in texts:
        for line in _joined(text).splitlines():
            name, _, value = line.strip().partition("=")
            name, value = name.strip(), value.strip()
            if name in ("ExecStartPre", "ExecStart", "ExecStartPost"):
                found[name] = [*found.get(name, ()), value.lstrip("-@:+!")] if value else []
    return [command for commands in found.values() for command in commands]


def unit_of(texts: Sequence[str], timer: str) -> str:
    """Return the unit that a timer starts.

    :param texts: of the timer and its drop-ins
    """
    found = [one for text in texts for one in re.findall(r"(?m)^\s*Unit\s*=\s*(\S+)", text)]
    return found[-1] if found else f"{timer.removesuffix('.timer')}.service"


def of_shell(text: str, depth: int = 0) -> list[Call]:
    """Return what a text of the shell calls: each certbot that obtains certificates, and what may be a
    script that does."""
    found: list[Call] = []
    for line in _joined(text).splitlines():
        for words in _commands(line):
            found += _calls(words, depth)
    return found


def _joined(text: str) -> str:
    return re.sub(r"\\\n", " ", text)


def _commands(line: str) -> Iterator[list[str]]:
    """Yield the words of each command of a line."""
    line = line.replace("`", ";")
    try:
        words = _split(line)
    except ValueError:  # quotes over several lines
        words = _split(re.sub("[\"'\\\\]", " ", line))
    command: list[str] = []
    for word in words:
        if word and set(word) <= set(";&|()"):
            yield command
            command = []
        else:
            command.append(word)
    yield command


def _split(line: str) -> list[str]:
    reader = shlex.shlex(line, posix=True, punctuation_chars=True)
    reader.whitespace_split = True
    return list(reader)


def _calls(words: list[str], depth: int) -> Iterator[Call]:
    """Yield what the words of one command call."""
    while words and (_ASSIGNMENT.match(words[0]) or words[0] in _RESERVED):
        words = words[1:]
    if not words or depth > _DEEPEST:
        return
    name, rest = posixpath.basename(words[0]), words[1:]
    if _is_certbot(words[0]):
        yield from _certbot(words[0], rest)
    elif name in (*_SHELLS, "flock") and any(map(_TEXT.fullmatch, rest[:-1])):
        at = next(at for at, word in enumerate(rest) if _TEXT.fullmatch(word))
        yield from of_shell(rest[at + 1], depth + 1)
    elif _PYTHON.fullmatch(name):
        yield from _by_python(words[0], rest)
    elif name == "snap" and rest[:1] == ["run"]:
        yield from _by_snap(rest[1:])
    elif name in (*_STARTERS, *_SHELLS):
        start = next((at for at, word in enumerate(rest) if _starts(word)), None)
        if start is not None and name in _STARTERS:
            yield from _calls(rest[start:], depth + 1)
        else:
            yield from map(Call, filter(posixpath.isabs, rest))
    else:
        yield Call(words[0])


def _by_snap(words: list[str]) -> Iterator[Call]:
    """Yield what snap runs, if that is its certbot."""
    if "certbot.renew" in words:
        yield from _certbot(SNAP, ["renew"])
    elif "certbot" in words:
        yield from _certbot(SNAP, words[words.index("certbot") + 1 :])


def _by_python(python: str, rest: list[str]) -> Iterator[Call]:
    """Yield what Python is called for: its module, or a script."""
    if "-m" in rest[:-1]:
        at = rest.index("-m")
        if rest[at + 1] == "certbot":
            yield from _certbot(python, rest[at + 2 :])
        return
    script = next((at for at, word in enumerate(rest) if not word.startswith("-")), None)
    if script is not None and _is_certbot(rest[script]):
        yield from _certbot(python, rest[script + 1 :])


def _starts(word: str) -> bool:
    """Say whether a word may be the program that the words in front of it start."""
    name = posixpath.basename(word)
    known = name in _SHELLS or name in _STARTERS or name == "snap" or _PYTHON.fullmatch(name)
    return bool(known) or _is_certbot(word)


def _is_certbot(word: str) -> bool:
    """Say whether a word is a name of certbot, or the full path of such a program."""
    return posixpath.basename(word) in _NAMES and ("/" not in word or posixpath.isabs(word))


def _certbot(program: str, words: Sequence[str]) -> Iterator[Call]:
    """Yield the call of a certbot, if it obtains certificates."""
    verb = next((one for one in words if one in _OBTAINING or one in _OTHER_VERBS), "run")
    if verb not in _OBTAINING or not _OBTAINS_NONE.isdisjoint(words):
        return
    keeps = "--reuse-key" in words or verb == "renew"
    keeps = keeps and "--new-key" not in words and "--no-reuse-key" not in words
    yield Call(program, is_certbot=True, keeps_key=keeps, config_dir=_value(words, "--config-dir"))


def _value(words: Sequence[str], option: str) -> str:
    for word, after in pairwise([*words, ""]):
        name, equals, value = word.partition("=")
        if name == option:
            return value if equals else after
    return ""
