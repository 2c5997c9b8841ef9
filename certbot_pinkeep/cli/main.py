"""The command ``certbot-pinkeep``: parse, run, print an error (see ``output``), and end with a code."""

from __future__ import annotations

import argparse
import os
import sys

from certbot_pinkeep import __version__
from certbot_pinkeep.cli import (
    backup,
    check,
    confirm,
    deploy_hook,
    dns,
    export,
    output,
    pin,
    prune,
    release,
    rollover,
    setup,
    status,
    timeline,
    unpin,
)
from certbot_pinkeep.cli.parser import Parser, described, ended
from certbot_pinkeep.core.errors import PinkeepError
from certbot_pinkeep.storage import atomic

_HELP = "see to the pinned keys that the certbot installer 'pinkeep' keeps"
_MORE = (
    "Each command tells more: certbot-pinkeep COMMAND --help. NAME is a keyring: the name of its "
    "certificate, or the value of --pinkeep-keyring. Run it as the user who runs certbot."
)
_EXAMPLE = """\
  certbot-pinkeep setup
  certbot-pinkeep pin example.com
  certbot-pinkeep status
  certbot-pinkeep check
  certbot-pinkeep rollover example.com --when-safe
"""
_COMMANDS = {
    "setup": setup,
    "pin": pin,
    "status": status,
    "check": check,
    "rollover": rollover,
    "export": export,
    "release": release,
    "dns": dns,
    "backup": backup,
    "timeline": timeline,
    "confirm": confirm,
    "prune": prune,
    "unpin": unpin,
    "deploy-hook": deploy_hook,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    :param arguments: the command line without the program's name; ``None``: the process's own
    :returns: the exit code
    :raises SystemExit: after a usage error, or help
    """
    output.set_up()
    parsed, before = argparse.Namespace(), atomic.changes()
    try:
        parsed = _parsed(arguments)
        output.log_warnings()
        code = int(parsed.run(parsed))
        output.flush()
    except PinkeepError as error:
        unchanged = getattr(parsed, "writes", False) and atomic.changes() == before
        code = output.fail(error, unchanged=unchanged)
    except BrokenPipeError:
        code = output.UNREAD
    except OSError as error:
        what = error.filename or "A file, or standard output,"
        code = output.fail(f"{what} cannot be read or written: {error.strerror or error}.")
    except KeyboardInterrupt:
        output.settle()
        os._exit(output.INTERRUPTED)  # do not wait for hosts that are still being looked at
    output.settle()
    return code


def _parsed(arguments: list[str] | None) -> argparse.Namespace:
    if arguments is None and len(sys.argv) == 1 and "RENEWED_LINEAGE" in os.environ:
        arguments = ["deploy-hook"]  # certbot calls a file in a hook folder without arguments
    words = sys.argv[1:] if arguments is None else arguments
    parser = _parser(words[0] if words else "")
    if "check" in words and words[0].startswith("-"):
        parser.answer = check.usage_error  # an error before its name as well
    _complete(parser)
    try:
        return parser.parse_args(arguments)
    except SystemExit:
        output.flush()
        raise


def _complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell that asks for completions, if the extra ``completion`` is installed."""
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)


def _parser(first: str = "") -> Parser:
    """Build the parser; that takes longer than many a command.

    :param first: the first word: if this is a command, the parsers of other commands are left out
    """
    parser = Parser(
        prog="certbot-pinkeep",
        description=described(_HELP, _MORE),
        epilog=ended(_EXAMPLE),
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.set_defaults(config_dir=None, work_dir=None, logs_dir=None, config=None)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    needed = [_COMMANDS[first]] if first in _COMMANDS else _COMMANDS.values()
    for one in needed:
        one.add(commands)
    return parser
