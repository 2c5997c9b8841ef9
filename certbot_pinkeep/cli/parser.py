"""The parsers of the command and of its parts.

The rules:

* A parser takes no abbreviations. A parser repeats no values that it does not know: the word after a mistyped
  option for a passphrase's file may be the passphrase (G7).
* Every part takes certbot's own arguments, in any place, as certbot does.
* A part that changes files says so (``writes``): see ``output``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias

from certbot_pinkeep.core import text

#: The widest a help is, in columns.
_WIDEST = 100
_CODES = "0 done, 1 refused or failed: one line on standard error says why, 2 usage"
_FOLDERS = {
    "--config-dir": "/etc/letsencrypt",
    "--work-dir": "/var/lib/letsencrypt",
    "--logs-dir": "/var/log/letsencrypt",
}

#: The place that takes the commands, or the verbs of a command.
Commands: TypeAlias = "argparse._SubParsersAction[Parser]"
Run: TypeAlias = Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """Parse the command, or a part of it.

    :ivar answer: prints a usage error in its own way, and returns the exit code
    """

    answer: Callable[[str], int] | None = None

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            **{
                "allow_abbrev": False,
                "formatter_class": argparse.RawDescriptionHelpFormatter,
                **settings,
            }
        )
        own = self.add_argument_group("as for certbot")
        for flag, usual in _FOLDERS.items():
            own.add_argument(
                flag, metavar="DIR", default=argparse.SUPPRESS, help=f"(default: {usual})"
            )
        own.add_argument(
            *("-c", "--config"),
            metavar="FILE",
            default=argparse.SUPPRESS,
            help="(default: cli.ini in /etc/letsencrypt and ~/.config/letsencrypt)",
        )

    def error(self, message: str) -> NoReturn:
        """Print what is wrong, and exit."""
        if self.answer is not None:
            self.exit(self.answer(message))
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}: error: {text.printable(message)}\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse *args*; an unknown word is an error of the part that does not know it."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            option = next((word for word in unknown if word.startswith("-")), unknown[0])
            self.error(f"it takes no {option.partition('=')[0]!r}; see {self.prog} --help")
        return parsed, unknown


def add_command(
    commands: Commands,
    name: str,
    told: str,
    examples: str,
    *,
    run: Run | None = None,
    writes: bool = False,
    more: str = "",
    codes: str = _CODES,
) -> Parser:
    """Add the parser of a command, or of a verb of a command.

    :param told: what the command does, in a line
    :param examples: calls of it, a line each
    :param run: does it, and returns the exit code; ``None``: its verbs do
    :param writes: whether it changes files (see ``output``)
    :param more: a paragraph about it
    :param codes: its exit codes
    """
    command = commands.add_parser(
        name, help=told, description=described(told, more), epilog=ended(examples, codes)
    )
    command.set_defaults(run=run, writes=writes)
    return command


def described(told: str, more: str = "") -> str:
    """Write what is above the arguments in a help: a line, and a paragraph."""
    width = min(shutil.get_terminal_size().columns, _WIDEST) - 2
    parts = [f"{told[0].upper()}{told[1:]}.", more]
    return "\n\n".join(textwrap.fill(part, width, break_on_hyphens=False) for part in parts if part)


def ended(examples: str, codes: str = _CODES) -> str:
    """Write what is below the arguments in a help."""
    return f"examples:\n{examples}\nexit codes:\n  {codes}"


def add_name(command: argparse.ArgumentParser, *, every: bool = False) -> None:
    """Add the argument that names the keyring.

    :param every: whether the admin can leave it out, for all keyrings
    """
    if every:
        command.add_argument("name", nargs="?", metavar="NAME", help="the keyring (default: all)")
    else:
        command.add_argument("name", metavar="NAME", help="the keyring")
