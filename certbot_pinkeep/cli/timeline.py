"""``certbot-pinkeep timeline``."""

from __future__ import annotations

import argparse
import shutil
import sys

from certbot_pinkeep.adapters import clock
from certbot_pinkeep.cli import context, output
from certbot_pinkeep.cli.parser import Commands, add_command, add_name
from certbot_pinkeep.core import text
from certbot_pinkeep.core.errors import PinkeepError
from certbot_pinkeep.reports import timeline

_HELP = "show the keys' lives, and how long clients hold which pins"
_EXAMPLE = """\
  certbot-pinkeep timeline example.com
  certbot-pinkeep timeline example.com -o example.svg
"""


def add(commands: Commands) -> None:
    command = add_command(commands, "timeline", _HELP, _EXAMPLE, run=_timeline, writes=True)
    add_name(command)
    command.add_argument(
        "-o", "--output", metavar="FILE.svg", help="draw a picture (default: text in the terminal)"
    )


def _timeline(parsed: argparse.Namespace) -> int:
    if parsed.output and not parsed.output.lower().endswith(".svg"):
        raise PinkeepError(
            f"-o {parsed.output!r}: the picture is SVG.", "Give a name that ends in .svg."
        )
    workspace, state = context.look_up(parsed)
    history = workspace.store.history(state.keyring.name)
    line = timeline.timeline(state, clock.now(), history)
    if not parsed.output:
        width = shutil.get_terminal_size((100, 24)).columns
        plain = not _takes("█▓░·", getattr(sys.stdout, "encoding", None))
        print(text.escaped(timeline.as_text(line, width, plain=plain)))
        return 0
    from certbot_pinkeep.reports import plot

    output.write(parsed.output, plot.svg(line))
    print(f"{parsed.output} shows the timeline of {line.name}. {timeline.verdict(line)}")
    return 0


def _takes(signs: str, encoding: str | None) -> bool:
    try:
        signs.encode(encoding or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True
