"""``certbot-pinkeep check``: looks at the live sites and at the files, for monitoring.

What it prints, and its exit codes, are what monitoring expects (see ``checks.findings``). It writes
nothing, takes no lock, and whatever goes wrong in it is UNKNOWN, in one line on standard output.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from certbot_pinkeep import handoff, moments
from certbot_pinkeep.commands import common
from certbot_pinkeep.errors import DamagedState, PinkeepError

if TYPE_CHECKING:
    from certbot_pinkeep.survey import CliIni

_HELP = "look at the live sites and the files, for monitoring"
_CODES = "as monitoring plugins have them: 0 ok, 1 warning, 2 critical, 3 unknown"
_EXAMPLE = """\
  certbot-pinkeep check
  certbot-pinkeep check example.com --connect 192.0.2.1:443 --timeout 5
"""
_FOREVER = 86400.0


@dataclass(frozen=True)
class _Outcome:
    lines: list[str]
    code: int


def add(commands: common.Commands) -> None:
    """Add its parser."""
    command = common.add_command(commands, "check", _HELP, _EXAMPLE, codes=_CODES)
    common.add_name(command, every=True)
    command.add_argument(
        "--connect",
        metavar="HOST:PORT",
        type=_address,
        help="connect to this for every host, in place of the host itself and port 443; plain HTTP "
        "is looked at only with --connect-http then",
    )
    command.add_argument(
        "--connect-http",
        metavar="HOST:PORT",
        type=_address,
        help="the same for plain HTTP, in place of the host itself and port 80",
    )
    command.add_argument(
        "--ca-file", metavar="FILE", help="trust these root certificates (PEM) as well"
    )
    command.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        default=10.0,
        help="the time limit for each host (default: 10)",
    )
    command.set_defaults(run=_run)


def _run(parsed: argparse.Namespace) -> int:
    try:
        outcome = _check(parsed, moments.now())
    except Exception as error:  # monitoring takes a traceback for an answer
        outcome = _unknown(parsed.name, error)
    print("\n".join(outcome.lines))
    return outcome.code


def _check(parsed: argparse.Namespace, now: datetime) -> _Outcome:
    # Only here: it takes time to load, and no other command needs it.
    from certbot_pinkeep import checks, probe
    from certbot_pinkeep.checks.findings import Finding, Severity, exit_code, lines
    from certbot_pinkeep.checks.seen import targets
    from certbot_pinkeep.survey import Survey

    config = common.certbots_config(parsed)
    store = common.keeper_of(config).store
    names = [common.name_of(parsed)] if parsed.name else store.names()
    if not names:
        raise PinkeepError("there is no keyring yet. Run: certbot renew --installer pinkeep")
    states, damaged = common.load(store, names)
    survey = Survey(config.config_dir, store, _cli_ini(config))
    wanted = {
        state.keyring.name: targets(state.keyring.without_members(survey.deleted(state.keyring)))
        for state in states
    }
    way = probe.Way(parsed.connect, parsed.connect_http, parsed.timeout, parsed.ca_file)
    every = list(dict.fromkeys(target for some in wanted.values() for target in some))
    shown, plain = probe.look(every, way)
    found = [Finding(Severity.CRITICAL, _name_of(error), str(error), "") for error in damaged]
    for state in states:
        mine = {target.name for target in wanted[state.keyring.name]}
        seen = survey.look(
            state,
            now,
            [one for one in shown if one.host in mine],
            [one for one in plain if one.host in mine],
        )
        found += checks.check(seen, now)
    hosts = len({one.host for one in shown})
    sound = f"{_count(len(states), 'keyring')}, {_count(hosts, 'host')}: keys, headers and files are sound"
    return _Outcome(lines(found, sound), exit_code(found))


def _cli_ini(config: Any) -> CliIni:
    """What certbot's settings say of every renewal."""
    from certbot_pinkeep.survey import CliIni

    # Older certbots call it renew_hook.
    hook = getattr(config, "deploy_hook", None) or getattr(config, "renew_hook", None)
    return CliIni(
        config.installer,
        config.reuse_key if handoff.is_given(config, "reuse_key") else None,
        hook or "",
        config.directory_hooks,
    )


def _unknown(name: str | None, error: Exception) -> _Outcome:
    from certbot_pinkeep.checks.findings import Finding, Severity, exit_code, lines

    what = f"the check itself failed ({type(error).__name__}: {error})."
    if isinstance(error, PinkeepError):
        what = str(error)
    elif isinstance(error, OSError):
        what = f"{error.filename or 'a file'} cannot be read: {error.strerror or error}."
    found = [Finding(Severity.UNKNOWN, name or "check", what, "")]
    return _Outcome(lines(found, "")[:1], exit_code(found))


def _name_of(error: DamagedState) -> str:
    return error.path.rpartition("/")[2].removesuffix(".conf")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _address(text: str) -> tuple[str, int]:
    """HOST:PORT, also [2001:db8::1]:443."""
    try:
        parts = urlsplit(f"//{text}")
        if parts.hostname and parts.port and parts.netloc == text and "@" not in text:
            return parts.hostname, parts.port
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, e.g. 192.0.2.1:443")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if 0 < seconds <= _FOREVER:
        return seconds
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, e.g. 10")
