"""What the commands share: certbot's arguments, and the keyrings that a name stands for."""

from __future__ import annotations

import argparse
import os
import shutil
import stat
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from certbot import errors

from certbot_pinkeep.adapters import certbot_config, clock, lineage
from certbot_pinkeep.adapters.renewal_conf import Renewal
from certbot_pinkeep.core import options, text
from certbot_pinkeep.core.errors import BadOption, DamagedState, PinkeepError
from certbot_pinkeep.core.state import State
from certbot_pinkeep.storage import atomic, trust
from certbot_pinkeep.workflow import enrol as enrolling
from certbot_pinkeep.workflow import move
from certbot_pinkeep.workflow.publish import Report, Taken
from certbot_pinkeep.workflow.workspace import Workspace

T = TypeVar("T")

#: From how many items on it takes long enough to be shown.
_LONG = 200
#: The widest a help is, in columns.
_WIDEST = 100
_CODES = "0 done, 1 refused or failed: one line on standard error says why, 2 usage"
_FOLDERS = {
    "--config-dir": "/etc/letsencrypt",
    "--work-dir": "/var/lib/letsencrypt",
    "--logs-dir": "/var/log/letsencrypt",
}

if TYPE_CHECKING:
    from typing import NoReturn

    from certbot_pinkeep.core.observations import TlsObservation

    Commands = argparse._SubParsersAction["Parser"]


class Parser(argparse.ArgumentParser):
    """A parser of the command, or of a part of it.

    It takes no abbreviations, and repeats no values that it does not know: what follows a mistyped
    option for a passphrase's file may be the passphrase (G7).

    :ivar usage_code: the exit code of a usage error
    """

    usage_code = 2

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            **{
                "allow_abbrev": False,
                "formatter_class": argparse.RawDescriptionHelpFormatter,
                **settings,
            }
        )

    def error(self, message: str) -> NoReturn:
        """Print what is wrong, and exit."""
        self.print_usage(sys.stderr)
        self.exit(self.usage_code, f"{self.prog}: error: {text.printable(message)}\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse *args*; what is not known is an error of the part that does not know it."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            option = next((word for word in unknown if word.startswith("-")), unknown[0])
            self.error(f"it takes no {option.partition('=')[0]!r}; see {self.prog} --help")
        return parsed, unknown


def fail(sentence: str) -> int:
    """Print an error, as one line; a command that helps has a line of its own, after ``Run:``.

    :returns: the exit code
    """
    lines = text.paragraphs(text.printable(sentence))
    print("\n".join(["certbot-pinkeep: " + lines[0], *lines[1:]]), file=sys.stderr)
    return 1


def add_command(
    commands: Commands, name: str, told: str, examples: str, more: str = "", codes: str = _CODES
) -> Parser:
    """Add the parser of a command, or of what one does with a keyring.

    :param told: what it does, in a line
    :param examples: calls of it, a line each
    :param more: what else is to be known of it
    :param codes: its exit codes
    """
    return commands.add_parser(
        name, help=told, description=described(told, more), epilog=ended(examples, codes)
    )


def described(told: str, more: str = "") -> str:
    """What stands above the arguments in a help: a line, and a paragraph."""
    width = min(shutil.get_terminal_size().columns, _WIDEST) - 2
    parts = [f"{told[0].upper()}{told[1:]}.", more]
    return "\n\n".join(textwrap.fill(part, width, break_on_hyphens=False) for part in parts if part)


def ended(examples: str, codes: str = _CODES) -> str:
    """What stands below the arguments in a help."""
    return f"examples:\n{examples}\nexit codes:\n  {codes}"


def add_name(command: argparse.ArgumentParser, every: bool = False) -> None:
    """The argument that names the keyring.

    :param every: whether it can be left out, for all of them
    """
    if every:
        command.add_argument("name", nargs="?", metavar="NAME", help="the keyring; left out: all")
    else:
        command.add_argument("name", metavar="NAME", help="the keyring")


def add_certbots(parser: argparse.ArgumentParser, default: str | None) -> None:
    """The arguments that are certbot's own."""
    for flag, usual in _FOLDERS.items():
        parser.add_argument(
            flag, metavar="DIR", default=default, help=f"as for certbot (default: {usual})"
        )
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        default=default,
        help="as for certbot (default: cli.ini in /etc/letsencrypt and ~/.config/letsencrypt)",
    )


def add_verb(verbs: Commands, name: str, told: str, examples: str) -> Parser:
    """Add the parser of what a command does with a keyring, with certbot's own arguments."""
    verb = add_command(verbs, name, told, examples)
    add_certbots(verb, argparse.SUPPRESS)
    return verb


def folders(parsed: argparse.Namespace, config_dir: str | None = None) -> list[str]:
    """What certbot is to be told of its folders."""
    given = {
        "--config-dir": parsed.config_dir or config_dir,
        "--work-dir": parsed.work_dir,
        "--logs-dir": parsed.logs_dir,
        "--config": parsed.config,
    }
    # Absolute: certbot is run from another folder.
    return [
        word for flag, value in given.items() if value for word in (flag, os.path.abspath(value))
    ]


def certbots_config(parsed: argparse.Namespace, config_dir: str | None = None) -> Any:
    """Certbot's settings, read as certbot reads them.

    :raises PinkeepError: when they cannot be read, or the config dir that was named is not there
    """
    config = certbot_config.read_config(folders(parsed, config_dir))
    if parsed.config_dir and not os.path.isdir(config.config_dir):
        raise PinkeepError(
            f"--config-dir {parsed.config_dir!r}: there is no such folder. Name the one that certbot "
            "uses; without --config-dir it is /etc/letsencrypt."
        )
    return config


@contextmanager
def holding_certbot(config: Any) -> Iterator[None]:
    """Keep certbot from working on the config dir meanwhile: a renewal that is under way has decided on
    a key by what is on record, and what is said here has to hold for it, too.

    :raises PinkeepError: when a certbot is at work there
    """
    with ExitStack() as held:
        try:
            held.enter_context(certbot_config.locked(config.config_dir))
        except FileNotFoundError:
            pass  # no certbot has such a config dir, and it has no keyring
        except errors.LockError as error:
            raise PinkeepError(
                f"Certbot is at work in {config.config_dir}, and may be renewing a certificate right now. "
                "Nothing was changed. Run this again once certbot has ended; a hook of certbot runs before "
                "that."
            ) from error
        except OSError as error:
            raise PinkeepError(
                f"Certbot's lock on {config.config_dir} cannot be had: {error.strerror or error}. Nothing "
                "was changed. Run this as the user who runs certbot."
            ) from error
        yield


def workspace_of(config: Any, connect: tuple[str, int] | None = None) -> Workspace:
    """What is known of certbot's config dir.

    :param connect: host and port at which hosts are looked at before they are pinned; ``None``: the
        hosts themselves, port 443
    """

    def look(names: Sequence[str]) -> list[TlsObservation]:
        from certbot_pinkeep.adapters import probe

        return probe.glance(names, connect)

    return Workspace(config.config_dir, config.work_dir, look)


def name_of(parsed: argparse.Namespace) -> str:
    """The keyring that was named.

    :raises BadOption: when no keyring can have that name
    """
    return _checked(parsed.name)


def _checked(name: str) -> str:
    try:
        return options.keyring_name(name, name)
    except BadOption as error:
        raise BadOption("NAME", error.value, error.why) from None


def load(workspace: Workspace, names: list[str]) -> tuple[list[State], list[DamagedState]]:
    """The keyrings of these names, and what is wrong with those that cannot be trusted.

    :raises PinkeepError: when there is no such keyring
    """
    states, damaged = [], []
    for name in progress(names, "keyrings"):
        try:
            state = workspace.store.load(_checked(name))
        except DamagedState as error:
            damaged.append(error)
            continue
        if state is None:
            known = ", ".join(workspace.store.names()) or "none"
            raise PinkeepError(f"There is no keyring {name!r}. Keyrings here: {known}.")
        states.append(workspace.with_faults(state))
    return states, damaged


def progress(items: Sequence[T], what: str) -> Iterator[T]:
    """The items; on a terminal, how many of them are done is shown where there are many."""
    shown = sys.stderr.isatty() and len(items) >= _LONG
    for number, item in enumerate(items):
        if shown and number % (_LONG // 10) == 0:
            print(f"\r{number} of {len(items)} {what}", end="", file=sys.stderr, flush=True)
        yield item
    if shown:
        print(f"\r{'':40}\r", end="", file=sys.stderr, flush=True)


def load_one(workspace: Workspace, name: str) -> State:
    """The keyring of this name.

    :raises PinkeepError: when there is none, or it cannot be trusted
    """
    states, damaged = load(workspace, [name])
    if damaged:
        raise damaged[0]
    return states[0]


def enrol(
    config: Any,
    workspace: Workspace,
    renewal: Renewal,
    also: Mapping[str, object] | None = None,
    remember: Callable[[], None] | None = None,
) -> Taken:
    """Record what is live of a lineage, with the options that count for it.

    :param also: options that are given, beside those in ``cli.ini``
    :param remember: notes how the lineage is renewed; ``None``: nothing is noted
    """
    name = renewal.name
    live = lineage.look(name, renewal.cert_path, renewal.key_path, renewal.must_staple)
    now = clock.now()
    also = {**options.given(config), **(also or {})}
    values = move.values(workspace, name, also, renewal.options, names=live.names, now=now)
    chosen = options.parse(values, name)
    # With one certificate ever, there was none before whose pins could be forgotten.
    ours = renewal.installer == certbot_config.INSTALLER and live.versions > 1
    pinned_before = ours and workspace.store.may_have_had(name, renewal.options)
    taken = enrolling.enrol(
        workspace, live, chosen, now, remember=remember, pinned_before=pinned_before
    )
    for sentence in taken.told:
        tell(sentence)
    return taken


def is_printed(path: str) -> bool:
    """Whether what is written to *path* goes to standard output."""
    try:
        return path == "-" or os.path.samestat(os.stat(path), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):  # there is no such file, or no standard output
        return False


def write(path: str, content: bytes) -> None:
    """Write a file that the admin asked for, whole or not at all. A link of root's or ours is followed;
    what is there and is no file, say a device, is written to, never replaced.

    :raises PinkeepError: when it cannot be written
    """
    try:
        target = trust.resolved(path)
        if _is_replaced(path):
            atomic.put(target, content, 0o644)
        else:
            atomic.write_through(path, content)
    except OSError as error:
        raise PinkeepError(
            f"-o {path!r}: it cannot be written: {error.strerror}. Nothing was written."
        ) from error


def _is_replaced(path: str) -> bool:
    """Whether there is a file at *path*, or nothing at all."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return True


def tell(told: str) -> None:
    """Print what is on record before more is done. Where nobody reads it, that is done all the same, and
    the command ends as it does then."""
    with suppress(OSError):
        print(text.escaped(told), flush=True)


def print_step(report: Report) -> None:
    """Say what is published."""
    what = "no pins" if report.unpinned else f"{len(report.pins)} pins"
    where = f" in {report.snippet}" if report.snippet else ", and no server sends a header"
    waits = f", which {report.server.title} has yet to load" if report.pending else ""
    print(f"The keyring {report.keyring} is in step: {what}{where}{waits}.")
