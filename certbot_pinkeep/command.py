"""The command ``certbot-pinkeep``.

What it prints:

* The outcome on standard output; nothing else.
* An error is one line on standard error: what happened, why, and what to do.
* Exit codes: 0 done, 1 refused or failed, 2 usage.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
from contextlib import suppress
from typing import Any

from certbot_pinkeep import (
    __version__,
    advice,
    handoff,
    lineage,
    moments,
    options,
    renewals,
    status,
    wishes,
)
from certbot_pinkeep.csrs import Folders
from certbot_pinkeep.errors import BadKey, DamagedState, PinkeepError
from certbot_pinkeep.installer import OPTIONS
from certbot_pinkeep.keeper import Keeper
from certbot_pinkeep.publishing import Report
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
    logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.WARNING)
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

    _add_rollover(commands.add_parser("rollover", help="exchange the key at the next renewal"))

    command = commands.add_parser(
        "confirm", help="you reloaded Apache yourself: what was pending is served"
    )
    command.add_argument("name", metavar="NAME", help="the keyring")
    command.add_argument(
        "--clock",
        action="store_true",
        help="instead: the clock is right now, though later moments are on record",
    )
    command.set_defaults(run=_confirm)

    command = commands.add_parser(
        "unpin",
        help="leave pinning without locking anyone out: max-age=0 until nobody holds pins, then no "
        "header",
    )
    command.add_argument("name", metavar="NAME", help="the keyring")
    command.add_argument("--undo", action="store_true", help="stay pinned after all")
    command.set_defaults(run=_unpin)

    command = commands.add_parser(
        "deploy-hook",
        help="for certbot's deploy hooks: brings the header into step with RENEWED_LINEAGE",
    )
    command.set_defaults(run=_deploy_hook)

    for command in commands.choices.values():
        _add_certbots(command, argparse.SUPPRESS)  # certbot takes them in any place, so do we
    return parser


def _add_rollover(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME", help="the keyring")
    how = command.add_mutually_exclusive_group()
    how.add_argument(
        "--when-safe",
        action="store_true",
        help="where it is not safe yet, let the first renewal do it at which it is",
    )
    how.add_argument(
        "--force",
        action="store_true",
        help="do it though clients are locked out; says first who, and until when",
    )
    how.add_argument(
        "--undo", action="store_true", help="do not exchange it after all, where nothing forces to"
    )
    command.add_argument(
        "--compromised",
        action="store_true",
        help="the present key is known to others: never hand it over again",
    )
    command.add_argument(
        "--now", action="store_true", help="renew the keyring's certificates at once"
    )
    command.set_defaults(run=_rollover)


def _add_certbots(parser: argparse.ArgumentParser, default: str | None) -> None:
    for flag in ("--config-dir", "--work-dir", "--logs-dir"):
        parser.add_argument(flag, metavar="DIR", default=default, help="as for certbot")
    parser.add_argument("-c", "--config", metavar="FILE", default=default, help="as for certbot")


def _folders(parsed: argparse.Namespace, config_dir: str | None = None) -> list[str]:
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


def _certbots_config(parsed: argparse.Namespace, config_dir: str | None = None) -> Any:
    return handoff.read_config(_folders(parsed, config_dir))


def _keeper(config: Any) -> Keeper:
    return Keeper(config.config_dir, config.work_dir)


# status


def _status(parsed: argparse.Namespace) -> int:
    config = _certbots_config(parsed)
    store = _keeper(config).store
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


# rollover, confirm, unpin


def _rollover(parsed: argparse.Namespace) -> int:
    config = _certbots_config(parsed)
    keeper, name = _keeper(config), _name(parsed)
    if parsed.undo and (parsed.now or parsed.compromised):
        raise PinkeepError("--undo goes with neither --now nor --compromised. Nothing was changed.")
    if parsed.undo:
        print(wishes.take_back(keeper, name, moments.now()))
        return 0
    lineages = _renewable(config, keeper, name) if parsed.now else []
    asked = wishes.ask(
        keeper, name, moments.now(), parsed.when_safe, parsed.compromised, parsed.force
    )
    print("\n".join(asked.told), flush=True)
    if not (parsed.now and asked.ready):
        return 0
    if not lineages:
        print(
            f"No certificate of the keyring {name} is left that certbot could renew. The next one "
            "that you ask for with --installer pinkeep is issued for the new key."
        )
    failed = [one for one in lineages if _renew(one, _folders(parsed)) != 0]
    if failed:
        raise PinkeepError(
            f"The rollover of {name} is on record, but these certificates could not be renewed: "
            f"{', '.join(failed)}. See certbot's words above, mend that and run: certbot renew "
            f"--force-renewal --cert-name {failed[0]}"
        )
    return 0


def _renewable(config: Any, keeper: Keeper, name: str) -> list[str]:
    """The certificates of the keyring that certbot can renew at once, with pinkeep.

    :raises PinkeepError: when there is one that another installer renews
    """
    state = keeper.store.load(name)
    found = []
    for member in state.keyring.members if state else ():
        renewal = renewals.load(config.config_dir, member.lineage)
        if renewal is None or member.moved:
            continue  # deleted, or the business of another keyring
        if renewal.installer != handoff.INSTALLER:
            raise PinkeepError(
                f"{member.lineage} is renewed with the installer {renewal.installer}, which would "
                f"keep its key. Nothing was changed. Leave --now out, and then run: certbot renew "
                f"--cert-name {member.lineage} --force-renewal --installer pinkeep"
            )
        found.append(member.lineage)
    return found


def _renew(lineage_name: str, folders: list[str]) -> int:
    """Have certbot renew a certificate now, as it is set up; its words go where ours go."""
    command = [sys.executable, "-c", "import sys; from certbot.main import main; sys.exit(main())"]
    command += ["renew", "--cert-name", lineage_name, "--force-renewal", *folders]
    command += ["--non-interactive", "--no-random-sleep-on-renew"]
    # Python imports from the working directory first.
    done = subprocess.run(
        command, cwd="/", stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, check=False
    )
    return done.returncode


def _confirm(parsed: argparse.Namespace) -> int:
    keeper = _keeper(_certbots_config(parsed))
    confirm = wishes.confirm_clock if parsed.clock else wishes.confirm
    print(confirm(keeper, _name(parsed), moments.now()))
    return 0


def _unpin(parsed: argparse.Namespace) -> int:
    config = _certbots_config(parsed)
    keeper, name = _keeper(config), _name(parsed)
    for one in wishes.unpin(keeper, name, moments.now(), parsed.undo):
        renewal = renewals.load(config.config_dir, one)
        if renewal is not None:
            _take_in(config, keeper, renewal)
    _print_step(keeper.publish(name, moments.now()))
    state = keeper.store.load(name)
    if state is not None:
        print(advice.unpinning(name, state.unpin, state.ledger, moments.now()))
    return 0


def _name(parsed: argparse.Namespace) -> str:
    return options.keyring_name(parsed.name, parsed.name)


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
    keeper = _keeper(config)
    if keeper.store.keyring_of(name) is None and not _is_ours(renewal):
        with suppress(BadKey):  # of a kind that is never pinned
            keeper.check_accepted(name, *lineage.glance(renewal.cert_path), moments.now())
        print(
            f"{name} is not pinned. To pin it, run: certbot renew --cert-name {name} "
            "--installer pinkeep"
        )
        return 0
    keyring = _take_in(config, keeper, renewal)
    _print_step(keeper.publish(keyring, moments.now()))
    return 0


def _take_in(config: Any, keeper: Keeper, renewal: Renewal) -> str:
    """Record what is live of a lineage, with the options that certbot remembers for it.

    :returns: its keyring
    """
    name = renewal.name
    given = {option: getattr(config, f"pinkeep_{option.replace('-', '_')}") for option in OPTIONS}
    chosen = options.parse(keeper.store.values(name, given, renewal.options), name)
    live = lineage.look(name, renewal.cert_path, renewal.key_path, renewal.must_staple)
    # With one certificate ever, there was none before whose pins could be forgotten.
    pinned_before = renewal.installer == handoff.INSTALLER and live.versions > 1
    keeper.take_in(live, chosen, moments.now(), pinned_before=pinned_before)
    return chosen.keyring


def _print_step(report: Report) -> None:
    what = "no pins" if report.unpinned else f"{len(report.pins)} pins"
    print(
        f"The keyring {report.keyring} is in step: {what} in {report.snippet}"
        + (", which Apache has yet to load." if report.pending else ".")
    )


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
