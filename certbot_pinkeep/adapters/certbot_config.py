"""What certbot was told, its lock, and how pinkeep takes the place of one of its functions."""

from __future__ import annotations

import inspect
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr
from functools import partial, wraps
from typing import Any

from certbot import errors

from certbot_pinkeep.core.errors import PinkeepError, Unsupported

INSTALLER = "pinkeep"
COMMAND_LINE, CLI_INI, EITHER = "the command line", "cli.ini", "the command line, or cli.ini"
#: The process of a certbot whose guard works. Its hooks inherit it.
_GUARD = "CERTBOT_PINKEEP_GUARD"


def has_keyrings(config: Any) -> bool:
    """Return whether anything may be pinned on this machine: a stat or two, and nothing is loaded."""
    folders = (config.config_dir, config.work_dir)
    return any(os.path.isdir(os.path.join(folder, "pinkeep")) for folder in folders)


def announce_guard() -> None:
    """Tell the hooks of this certbot that it brings pinned lineages up to date itself."""
    os.environ.setdefault(_GUARD, str(os.getpid()))  # a hook of that certbot is another process


def is_guarded() -> bool:
    """Say whether a certbot with the guard has started this process, say as its hook."""
    return os.environ.get(_GUARD, str(os.getpid())) != str(os.getpid())


def lineage_of(config: Any, lineage: Any) -> str:
    """Return the name of a lineage by its folder in ``live/``: a copy of a renewal file has another name, and
    certbot renews the same certificate by both.

    :param lineage: as certbot has it
    """
    folder, name = os.path.split(os.path.dirname(lineage.cert_path))
    return name if folder == os.path.abspath(config.live_dir) else str(lineage.lineagename)


def lowered(names: Iterable[Any] | None) -> tuple[str, ...]:
    """Return certbot's names as pinkeep compares names: in lower case (RFC 4343 §3)."""
    return tuple(str(name).lower() for name in names or ())


def is_given(config: Any, option: str) -> bool:
    """Return whether the admin gave an option, on the command line or in cli.ini.

    :param option: as certbot's configuration names it, e.g. ``key_type``
    """
    if hasattr(config, "set_by_user"):
        # What certbot restores from a renewal file counts as set there, but as RUNTIME.
        source = (config.argument_sources or {}).get(option)
        return bool(config.set_by_user(option)) and getattr(source, "name", "") != "RUNTIME"
    from certbot._internal import cli

    return bool(cli.set_by_cli(option))  # type: ignore[attr-defined]  # as certbot 2.1 has it


def source(config: Any, option: str) -> str:
    """Return where the admin gave an option: :data:`COMMAND_LINE`, :data:`CLI_INI`, or :data:`EITHER`, as
    certbot 2 does not tell; empty: it was not given, or is unknown.

    :param option: as certbot's configuration names it, e.g. ``key_type``
    """
    if not hasattr(config, "set_by_user"):
        return EITHER if is_given(config, option) else ""
    name = getattr((config.argument_sources or {}).get(option), "name", "")
    return {"COMMAND_LINE": COMMAND_LINE, "CONFIG_FILE": CLI_INI}.get(name, "")


@contextmanager
def locked(config_dir: str) -> Iterator[None]:
    """Hold certbot's lock on its config dir, as long as it lasts.

    :raises errors.LockError: if a certbot holds it
    :raises OSError: if it cannot be had
    """
    from certbot._internal import lock

    held = lock.lock_dir(config_dir)
    try:
        yield
    finally:
        held.release()


def read_config(arguments: list[str]) -> Any:
    """Certbot's configuration as certbot itself reads it, ``cli.ini`` included.

    :param arguments: such as ``["--config-dir", "/etc/letsencrypt"]``
    :raises PinkeepError: if certbot refuses it
    """
    from certbot._internal import cli
    from certbot._internal.plugins import disco

    plugins = disco.PluginsRegistry.find_all()
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            config = cli.prepare_and_parse_args(
                plugins, ["certificates", "--disable-hook-validation", *arguments]
            )
    except (errors.Error, UnicodeDecodeError) as error:
        raise PinkeepError(f"Certbot does not accept its configuration: {error}") from error
    except SystemExit as ended:  # it prints its usage, and last what is wrong
        why = said.getvalue().strip().rpartition("\n")[2].rpartition(" error: ")[2]
        raise PinkeepError(
            f"Certbot does not accept its configuration, cli.ini or what was given here: {why}"
        ) from ended
    sys.stderr.write(said.getvalue())
    if hasattr(cli, "set_by_cli"):
        cli.set_by_cli.detector = None  # certbot 2 remembers what an earlier configuration had set
    return config


def expect(function: Callable[..., Any], parameters: list[str | None]) -> None:
    """Check the names of a function's parameters.

    :param parameters: those that are known; ``None``: any
    :raises Unsupported: if the function has others
    """
    found = list(inspect.signature(function).parameters)
    if len(found) != len(parameters) or any(
        name not in (None, there) for name, there in zip(parameters, found, strict=True)
    ):
        raise Unsupported(
            f"This certbot cannot be handed a saved CSR: {function.__qualname__} takes "
            f"{', '.join(found)}. The renewal keeps the live key all the same (reuse_key). Install "
            "a certbot-pinkeep that supports this certbot."
        )


def instead(owner: Any, name: str, does: Callable[..., Any]) -> Callable[[], None]:
    """Have *does* called instead of a function of certbot's.

    :param does: takes that function, and then what certbot calls it with
    :returns: what puts that function back
    """
    original: Callable[..., Any] = getattr(owner, name)

    @wraps(original)
    def called(*words: Any, **named: Any) -> Any:
        return does(original, *words, **named)

    setattr(owner, name, called)
    return partial(setattr, owner, name, original)
