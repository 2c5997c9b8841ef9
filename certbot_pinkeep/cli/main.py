"""The command ``certbot-pinkeep``; what it can do is in ``commands``.

What it prints:

* The outcome on standard output; nothing else. A character that cannot be shown there is escaped.
* An error is one line on standard error: what happened, and why; a command that helps follows on a
  line of its own. Warnings go there, too.
* Exit codes: 0 done, 1 refused or failed, 2 usage; those of ``check`` are its own. As the shell has
  it, 130 after Ctrl-C and 141 where nobody reads what is printed any more; neither is commented on.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys

from certbot_pinkeep import __version__
from certbot_pinkeep.cli import (
    backup,
    check,
    context,
    deploy_hook,
    export,
    pin,
    release,
    requests,
    rollover,
    status,
    timeline,
)
from certbot_pinkeep.core.errors import PinkeepError

_HELP = "show and change the pinned keys that the certbot installer 'pinkeep' keeps"
_MORE = (
    "certbot-pinkeep COMMAND --help tells more of a command. NAME is a keyring: it has the name of its "
    "first certificate, or the name that --pinkeep-keyring gave. Run this as the user who runs certbot."
)
_EXAMPLE = """\
  certbot-pinkeep pin example.com
  certbot-pinkeep status
  certbot-pinkeep check
  certbot-pinkeep rollover example.com --when-safe
"""
#: Exit codes as the shell has them for SIGINT and SIGPIPE.
_INTERRUPTED, _UNREAD = 130, 141


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    :param arguments: the command line without the program's name; ``None``: the process's own
    :returns: the exit code
    :raises SystemExit: after a usage error, or help
    """
    _set_up_output()
    try:
        code = _run(_parsed(arguments))
        _flush()
    except PinkeepError as error:
        code = context.fail(str(error))
    except BrokenPipeError:
        code = _UNREAD
    except OSError as error:
        what = error.filename or "A file, or standard output,"
        code = context.fail(f"{what} cannot be read or written: {error.strerror or error}.")
    except KeyboardInterrupt:
        _settle_output()
        os._exit(_INTERRUPTED)  # nobody waits for hosts that are still being looked at
    _settle_output()
    return code


def _run(parsed: argparse.Namespace) -> int:
    # Certbot's own warnings as well: what is printed is read by programs.
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    return int(parsed.run(parsed))


def _parsed(arguments: list[str] | None) -> argparse.Namespace:
    if arguments is None and len(sys.argv) == 1 and "RENEWED_LINEAGE" in os.environ:
        arguments = ["deploy-hook"]  # certbot calls what is linked into a hook folder bare
    parser = _parser()
    words = sys.argv[1:] if arguments is None else arguments
    if "check" in words and words[0].startswith("-"):
        check.answer(parser)  # what is wrong before its name as well
    _complete(parser)
    try:
        return parser.parse_args(arguments)
    except SystemExit:
        _flush()
        raise


def _set_up_output() -> None:
    """See that whatever is printed can be, and that what is closed is not opened as something else."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _flush() -> None:
    """Print what is still to be printed.

    :raises PinkeepError: when that cannot be
    :raises BrokenPipeError: when nobody reads it
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise PinkeepError(
            f"All is done but what was to be printed: standard output cannot be written: "
            f"{error.strerror or error}."
        ) from error


def _settle_output() -> None:
    """Print what is still to be printed; where that cannot be, Python is not to try at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell that asks for completions, where the extra ``completion`` is installed."""
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)


def _parser() -> context.Parser:
    parser = context.Parser(
        prog="certbot-pinkeep",
        description=context.described(_HELP, _MORE),
        epilog=context.ended(_EXAMPLE),
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    context.add_certbots(parser, None)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for one in (
        pin,
        status,
        check,
        rollover,
        export,
        release,
        backup,
        timeline,
        requests,
        deploy_hook,
    ):
        one.add(commands)
    for command in commands.choices.values():
        # Certbot takes them in any place, so do we.
        context.add_certbots(command, argparse.SUPPRESS)
    return parser
