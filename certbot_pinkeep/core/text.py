"""Put messages together, and make text from outside printable and short. Pure.

The rules:

* A message says what happened, then why, then on a line of its own ``Run: <command>``. A line that
  begins so is a command and nothing else.
* If several things are wrong, each of them is a line that begins with a dash.
* The name of a certificate and a wildcard are quoted in a command: a shell would read them otherwise.
* Nothing that a stranger sent or wrote is printed unchanged: headers, names in certificates, answers of
  a CA, output of commands, contents of files. A terminal, a log or a mail would obey it.
* Control characters, format characters (they turn the direction of writing) and unknown characters are
  escaped as Python escapes them. Letters of all scripts stay.
* A value from outside is one line of at most 200 characters. A message has at most 2,000. If a message
  is longer, its middle is left out: the command at its end stays.
* Every error and every finding of ``check`` passes through here on its way out.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

#: Characters that a message may have, and a value in it.
LONGEST, SHORT = 2000, 200
_CUT = " [{} characters] "
_RUN, _ITEM = "Run: ", "- "
_OWN_LINE = (_RUN, _ITEM)


def command(line: str) -> str:
    """Write a command as a message has it; empty for an empty one."""
    return f"{_RUN}{line}" if line else ""


def listed(parts: Iterable[str]) -> str:
    """Write several things that are wrong, each as a line of a message; empty for none."""
    return "\n".join(f"{_ITEM}{part}" for part in parts)


def domains(names: Iterable[str]) -> str:
    """Write names as certbot's command line has them, a space before each."""
    return "".join(f" -d {shlex.quote(name)}" for name in names)


def joined(*parts: str) -> str:
    """Join sentences, lists and commands to a message: each item and each command has a line of its own."""
    message = ""
    for part in filter(None, (one.strip() for one in parts)):
        apart = part.startswith(_OWN_LINE) or message.rpartition("\n")[2].startswith(_OWN_LINE)
        message += ("\n" if apart else " ") + part if message else part
    return message


def paragraphs(message: str) -> list[str]:
    """Split a message into lines: what is told is one line, and so is each item and each command."""
    lines: list[str] = []
    for line in (" ".join(one.split()) for one in message.split("\n")):
        if lines and not line.startswith(_OWN_LINE) and not lines[-1].startswith(_OWN_LINE):
            lines[-1] = f"{lines[-1]} {line}".strip()
        elif line:
            lines.append(line)
    return lines


def one_line(message: str) -> str:
    """Write a message in one line: a dash stands at the end of a command, and no item has one."""
    lines = paragraphs(message)
    ends = [" -- " if line.startswith(_RUN) else " " for line in lines]
    told = (line.removeprefix(_ITEM) for line in lines)
    return "".join(f"{line}{end}" for line, end in zip(told, [*ends[:-1], ""], strict=True))


def sentence(part: str) -> str:
    """Make a sentence of its part. A name at its beginning, such as that of a host, stays as it is."""
    plain = re.match(r"[a-z]+ (?!\()", part)
    return f"{part[:1].upper() if plain else part[:1]}{part[1:]}."


def escaped(text: str) -> str:
    """Return the text with all that a terminal would obey escaped; line feeds stay."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode("ascii")
        for one in text
    )


def printable(text: str) -> str:
    """Return a message that can be printed, and is not too long; line feeds stay."""
    return cut(escaped(text), LONGEST)


def short(text: object, longest: int = SHORT) -> str:
    """Return a value from outside, in one line."""
    return cut(escaped(re.sub(r"\s+", " ", str(text)).strip()), longest)


def cut(text: str, longest: int) -> str:
    """Return the text; if it is longer, without its middle."""
    if len(text) <= longest:
        return text
    left = longest - len(_CUT.format(len(text)))
    begin = left - left // 2
    return text[:begin] + _CUT.format(len(text) - left) + text[len(text) - left // 2 :]
