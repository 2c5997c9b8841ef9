"""The command ``certbot-pinkeep``; what it can do is in ``commands``.

What it prints:

* The outcome on standard output; nothing else.
* An error is one line on standard error: what happened, why, and what to do.
* Exit codes: 0 done, 1 refused or failed, 2 usage.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys

from certbot_pinkeep import __version__
from certbot_pinkeep.commands import (
    backup,
    check,
    common,
    deploy_hook,
    export,
    release,
    rollover,
    status,
    timeline,
    wishes,
)
from certbot_pinkeep.errors import PinkeepError


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    :param arguments: the command line without the program's name; ``None``: the process's own
    :returns: the exit code
    """
    if arguments is None and len(sys.argv) == 1 and "RENEWED_LINEAGE" in os.environ:
        arguments = ["deploy-hook"]  # certbot calls what is linked into a hook folder bare
    parser = _parser()
    _complete(parser)
    parsed = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.WARNING)
    try:
        return int(parsed.run(parsed))
    except PinkeepError as error:
        return common.fail(str(error))
    except OSError as error:
        return common.fail(
            f"{error.filename or 'A file'} cannot be read or written: {error.strerror or error}."
        )


def _complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell that asks for completions, where the extra ``completion`` is installed."""
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="certbot-pinkeep",
        description="See to the pinned keys that the certbot installer 'pinkeep' keeps.",
        epilog="Each command tells more: certbot-pinkeep COMMAND --help. NAME is a keyring: the name of its "
        "certificate, or what --pinkeep-keyring says.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    common.add_certbots(parser, None)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for one in (status, check, rollover, export, release, backup, timeline, wishes, deploy_hook):
        one.add(commands)
    for command in commands.choices.values():
        # Certbot takes them in any place, so do we.
        common.add_certbots(command, argparse.SUPPRESS)
    return parser
