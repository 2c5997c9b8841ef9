"""The command ``certbot-pinkeep``.

What it prints:

* The outcome on standard output; nothing else.
* An error is one line on standard error: what happened, why, and what to do.
* Exit codes: 0 done, 1 refused or failed, 2 usage.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from certbot_pinkeep import __version__, handoff, lineage, moments, options, renewals, status
from certbot_pinkeep.csrs import Folders
from certbot_pinkeep.errors import DamagedState, PinkeepError
from certbot_pinkeep.installer import OPTIONS
from certbot_pinkeep.keeper import Keeper
from certbot_pinkeep.renewals import Renewal
from certbot_pinkeep.store import State, Store


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    :param arguments: the command line without the program's name; ``None``: the process's own
    :returns: the exit code
    """
    if arguments is None and len(sys.argv) == 1 and "RENEWED_LINEAGE" in os.environ:
        arguments = ["deploy-hook"]  # certbot calls what is linked into a hook folder bare
    parsed = _parser().parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except PinkeepError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(
            f"{error.filename or 'A file'} cannot be read or written: {error.strerror or error}."
        )


def _fail(sentence: str) -> int:
    print(f"certbot-pinkeep: {' '.join(sentence.split())}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="certbot-pinkeep",
        description="See to the pinned keys that the certbot installer 'pinkeep' keeps.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    _add_certbots(parser, None)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("status", help="keyrings, their keys and what is published")
    command.add_argument("name", nargs="?", metavar="NAME", help="the keyring; left out: all")
    command.add_argument("--json", action="store_true", help="for scripts and monitoring")
    command.set_defaults(run=_status)

    command = commands.add_parser(
        "deploy-hook",
        help="for certbot's deploy hooks: brings the header into step with RENEWED_LINEAGE",
    )
    command.set_defaults(run=_deploy_hook)

    for command in commands.choices.values():
        _add_certbots(command, argparse.SUPPRESS)  # certbot takes them in any place, so do we
    return parser


def _add_certbots(parser: argparse.ArgumentParser, default: str | None) -> None:
    for flag in ("--config-dir", "--work-dir", "--logs-dir"):
        parser.add_argument(flag, metavar="DIR", default=default, help="as for certbot")
    parser.add_argument("-c", "--config", metavar="FILE", default=default, help="as for certbot")


def _certbots_config(parsed: argparse.Namespace, config_dir: str | None = None) -> Any:
    given = {
        "--config-dir": parsed.config_dir or config_dir,
        "--work-dir": parsed.work_dir,
        "--logs-dir": parsed.logs_dir,
        "--config": parsed.config,
    }
    return handoff.read_config(
        [word for flag, value in given.items() if value for word in (flag, value)]
    )


# status


def _status(parsed: argparse.Namespace) -> int:
    config = _certbots_config(parsed)
    store = Store(config.config_dir)
    names = [parsed.name] if parsed.name else store.names()
    states, damaged = _load(store, names)
    now = moments.now()
    if parsed.json:
        index: dict[str, list[str]] = {}
        for request, csr in Folders(config.config_dir).saved_csrs().items():
            index.setdefault(request.pin, []).append(csr.path or "")
        print(json.dumps(status.as_data(states, index, now, config.config_dir), indent=2))
    elif states:
        print(status.as_text(states, now))
    elif not damaged:
        print("No keyring yet. Run: certbot renew --installer pinkeep")
    for error in damaged:
        _fail(str(error))
    return 1 if damaged else 0


def _load(store: Store, names: list[str]) -> tuple[list[State], list[DamagedState]]:
    states, damaged = [], []
    for name in names:
        try:
            state = store.load(options.keyring_name(name, name))
        except DamagedState as error:
            damaged.append(error)
            continue
        if state is None:
            known = ", ".join(store.names()) or "none"
            raise PinkeepError(f"There is no keyring {name!r}. Keyrings here: {known}.")
        states.append(state)
    return states, damaged


# deploy-hook


def _deploy_hook(parsed: argparse.Namespace) -> int:
    live_dir = os.environ.get("RENEWED_LINEAGE")
    if not live_dir:
        raise PinkeepError(
            "RENEWED_LINEAGE is not set. This call is for certbot's deploy hooks: certbot sets it."
        )
    live_dir = os.path.normpath(live_dir)
    config_dir = os.path.dirname(os.path.dirname(live_dir))
    config = _certbots_config(parsed, config_dir)
    name = os.path.basename(live_dir)
    renewal = renewals.load(config.config_dir, name)
    if renewal is None:
        raise PinkeepError(
            f"{live_dir} is not a lineage in {config.config_dir}. Give the hook certbot's "
            "--config-dir."
        )
    keeper = Keeper(config.config_dir)
    adopted = keeper.store.keyring_of(name)
    if adopted is None and not _is_ours(renewal):
        print(
            f"{name} is not pinned. To pin it, run: certbot renew --cert-name {name} "
            "--installer pinkeep"
        )
        return 0
    values = _values(config, renewal)
    if adopted is not None and values["keyring"] is None:
        values["keyring"] = adopted
    live = lineage.look(name, renewal.cert_path, renewal.key_path, renewal.must_staple)
    # With one certificate ever, there was none before whose pins could be forgotten.
    pinned_before = renewal.installer == handoff.INSTALLER and live.versions > 1
    report = keeper.keep(
        live, options.parse(values, name), moments.now(), pinned_before=pinned_before
    )
    print(
        f"The keyring {report.keyring} is in step: {len(report.pins)} pins in {report.snippet}"
        + (", which Apache has yet to load." if report.pending else ".")
    )
    return 0


def _is_ours(renewal: Renewal) -> bool:
    """Whether a lineage that is in no keyring yet is to be adopted by the hook.

    :raises PinkeepError: when it asks for it, but its next renewal would make a new key
    """
    if renewal.installer == handoff.INSTALLER:
        return True
    if "certbot-pinkeep" not in renewal.deploy_hook:
        return False  # the hook runs for all lineages, and this one is none of ours (G9)
    if renewal.reuse_key:
        return True
    raise PinkeepError(
        f"{renewal.name} was not pinned: its next renewal would make a new key and lock out every "
        "client that holds the pins. Run: certbot renew --cert-name "
        f"{renewal.name} --installer pinkeep"
    )


def _values(config: Any, renewal: Renewal) -> dict[str, object]:
    """The options: from cli.ini, else as certbot remembers them for the lineage."""
    values: dict[str, object] = {}
    for name in OPTIONS:
        given = getattr(config, f"pinkeep_{name.replace('-', '_')}")
        values[name] = renewal.options.get(name) if given is None else given
    return values
