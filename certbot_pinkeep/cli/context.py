"""Hold what the commands share: certbot's settings and lock, and the keyrings that a name stands for."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from certbot import errors

from certbot_pinkeep.adapters import certbot_config, clock, lineage, probe
from certbot_pinkeep.adapters.lineage import Live
from certbot_pinkeep.adapters.renewal_conf import Renewal
from certbot_pinkeep.cli import output
from certbot_pinkeep.core import options
from certbot_pinkeep.core.errors import BadBackup, BadOption, DamagedState, PinkeepError
from certbot_pinkeep.core.state import State
from certbot_pinkeep.storage import atomic, settings
from certbot_pinkeep.workflow import enrol as enrolling
from certbot_pinkeep.workflow import move, requests
from certbot_pinkeep.workflow.publish import Enrolled
from certbot_pinkeep.workflow.workspace import Workspace


def folders(parsed: argparse.Namespace, config_dir: str | None = None) -> list[str]:
    """List the words that tell certbot its folders."""
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
    """Read certbot's settings as certbot reads them.

    :raises PinkeepError: if they cannot be read, or the named config dir is not there
    """
    config = certbot_config.read_config(folders(parsed, config_dir))
    if parsed.config_dir and not os.path.isdir(config.config_dir):
        raise PinkeepError(
            f"--config-dir {parsed.config_dir!r}: there is no such folder.",
            "Name the folder that certbot uses; the default is /etc/letsencrypt.",
        )
    return config


@contextmanager
def holding_certbot(config_dir: str) -> Iterator[None]:
    """Keep certbot from working on the config dir meanwhile.

    A renewal under way has chosen a key by what is on record: what is told here must hold for it, too.

    :raises PinkeepError: if a certbot is at work there
    """
    with ExitStack() as held:
        try:
            held.enter_context(certbot_config.locked(config_dir))
        except FileNotFoundError:
            pass  # no certbot has such a config dir, and it has no keyring
        except errors.LockError as error:
            raise PinkeepError(
                f"Certbot is at work in {config_dir}, and may be renewing a certificate right now.",
                "Run this again after certbot has ended. A hook of certbot runs before that.",
            ) from error
        except OSError as error:
            raise PinkeepError(
                f"Certbot's lock on {config_dir} cannot be taken: {error.strerror or error}.",
                "Run this as the user who runs certbot.",
            ) from error
        yield


def workspace_of(config: Any, connect: tuple[str, int] | None = None) -> Workspace:
    """Make the workspace of certbot's config dir.

    :param connect: connect here to see which pins a host sends; ``None``: the host itself, port 443
    """
    return Workspace(config.config_dir, config.work_dir, partial(probe.glance, connect=connect))


def named(parsed: argparse.Namespace) -> tuple[Workspace, str]:
    """Find the workspace, and the name of the keyring.

    :raises PinkeepError: if certbot's settings cannot be read, or no keyring can have that name
    """
    return workspace_of(certbots_config(parsed)), checked(parsed.name)


def checked(name: str) -> str:
    """Check the name of a keyring.

    :raises BadOption: if no keyring can have that name
    """
    try:
        return options.keyring_name(name, name)
    except BadOption as error:
        raise BadOption("NAME", error.value, error.why) from None


@contextmanager
def at_work(parsed: argparse.Namespace) -> Iterator[tuple[Workspace, str]]:
    """Yield a workspace and the name of its keyring, and keep certbot from working there meanwhile."""
    workspace, name = named(parsed)
    with holding_certbot(workspace.config_dir):
        yield workspace, name


def look_up(parsed: argparse.Namespace) -> tuple[Workspace, State]:
    """Load the keyring that is named.

    :raises PinkeepError: as :func:`load_one`
    """
    workspace, name = named(parsed)
    return workspace, load_one(workspace, name)


def read_file(option: str, path: str, *, named: bool = True) -> bytes:
    """Read a small file that the admin named.

    :param named: whether an error may repeat the name
    :raises BadBackup: if it cannot be read
    """
    what = f"{option} {path!r}" if named else option
    try:
        return atomic.read(path)
    except OSError as error:
        raise BadBackup(f"{what}: the file cannot be read: {error.strerror}.") from None
    except ValueError:
        raise BadBackup(f"{what}: a file cannot have this name.") from None


def load(workspace: Workspace, names: list[str]) -> tuple[list[State], list[DamagedState]]:
    """Load the keyrings of these names, and the errors of those that cannot be trusted.

    :raises PinkeepError: if there is no such keyring
    """
    states, damaged = [], []
    for name in output.progress(names):
        try:
            state = workspace.store.load(checked(name))
        except DamagedState as error:
            damaged.append(error)
            continue
        if state is None:
            raise requests.no_keyring(workspace.store, name)
        states.append(workspace.with_faults(state))
    return states, damaged


def load_one(workspace: Workspace, name: str) -> State:
    """Load the keyring of this name.

    :raises PinkeepError: if there is none, or it cannot be trusted
    """
    states, damaged = load(workspace, [name])
    if damaged:
        raise damaged[0]
    return states[0]


def what_counts(
    workspace: Workspace, renewal: Renewal, given: Mapping[str, object]
) -> tuple[Live, dict[str, object]]:
    """Look at a lineage, and find the options that count for it, by those that are given."""
    live = lineage.look(
        renewal.name, renewal.cert_path, renewal.key_path, must_staple=renewal.must_staple
    )

    def by_host() -> str | None:
        return move.keyring_at(workspace, live.names, clock.now())

    return live, settings.values(workspace.store, renewal.name, given, renewal.options, by_host)


def enrol(
    workspace: Workspace,
    renewal: Renewal,
    given: Mapping[str, object],
    remember: Callable[[], None] | None = None,
) -> Enrolled:
    """Record what is live of a lineage, with the options that count for it.

    :param given: the options in ``cli.ini`` and of the command
    :param remember: notes how the lineage is renewed; ``None``: nothing is noted
    """
    name, now = renewal.name, clock.now()
    live, values = what_counts(workspace, renewal, given)
    chosen = options.parse(values, name)
    if live.versions <= 1:  # no earlier certificate's pins could be forgotten
        workspace.note_pinned(name, pinned=False)
    enrolled = enrolling.enrol(workspace, live, chosen, now, remember=remember)
    for sentence in enrolled.told:
        output.tell(sentence)
    return enrolled
