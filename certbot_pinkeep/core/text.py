"""Text from outside, made printable and short. Pure.

The rules:

* What a stranger sent or wrote is never printed as it is: headers, names in certificates, answers of a
  CA, output of commands, contents of files. A terminal, a log or a mail would obey it.
* Control characters, format characters (they turn the direction of writing) and what Unicode does not
  know are escaped as Python does it. Letters of all scripts stay.
* A value from outside is one line of at most 200 characters. A message has at most 2,000; the middle
  is left out, because the command that helps is at the end.
* Every error and every finding of ``check`` passes through here on its way out.
"""

from __future__ import annotations

import re

#: Characters that a message may have, and a value in it.
LONGEST, SHORT = 2000, 200
_CUT = " [{} characters] "
_LAYOUT = "\n"


def escaped(text: str) -> str:
    """The text with all that a terminal would obey escaped; line feeds stay."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in _LAYOUT else _escape(one) for one in text)


def printable(text: str, longest: int = LONGEST) -> str:
    """A message that can be printed, of at most *longest* characters; line feeds stay."""
    return cut(escaped(text), longest)


def short(text: object, longest: int = SHORT) -> str:
    """A value from outside, in one line."""
    return cut(escaped(re.sub(r"\s+", " ", str(text)).strip()), longest)


def cut(text: str, longest: int) -> str:
    """The text without its middle, where it is longer."""
    if len(text) <= longest:
        return text
    left = longest - len(_CUT.format(len(text)))
    begin = left - left // 2
    return text[:begin] + _CUT.format(len(text) - left) + text[len(text) - left // 2 :]


def _escape(one: str) -> str:
    return one.encode("unicode_escape").decode("ascii")
