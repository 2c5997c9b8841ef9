"""``certbot-pinkeep check``: looks at the live sites and at the files, for monitoring.

The rules:

* What it prints, and its exit codes, are what monitoring expects (see ``check.findings``). It takes no lock,
  and writes nothing but what the CAs say of revocations, once a day.
* Whatever goes wrong in check is UNKNOWN, in one line on standard output; so is a wrong call. If one keyring
  cannot be looked at, the others are.
* Certbot may be running. If check finds something while a run changes files, check looks again after the run.
"""

from __future__ import annotations

import argparse
import glob
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from certbot_pinkeep.adapters import certbot_config, clock
from certbot_pinkeep.cli import context
from certbot_pinkeep.cli.parser import Commands, Parser, add_command, add_name
from certbot_pinkeep.core import membership, options
from certbot_pinkeep.core.errors import DamagedState, PinkeepError
from certbot_pinkeep.storage import atomic
from certbot_pinkeep.workflow import zone

if TYPE_CHECKING:
    from certbot_pinkeep.check.findings import Finding
    from certbot_pinkeep.check.local_files import CliIni, LocalFiles
    from certbot_pinkeep.core.keyring import Keyring
    from certbot_pinkeep.core.observations import HttpObservation, TlsObservation
    from certbot_pinkeep.core.state import State
    from certbot_pinkeep.workflow.workspace import Workspace

_HELP = "look at the live sites and the files, for monitoring"
_CODES = "as monitoring plugins have them: 0 ok, 1 warning, 2 critical, 3 unknown"
_EXAMPLE = """\
  certbot-pinkeep check
  certbot-pinkeep check example.com --connect 192.0.2.1:443 --timeout 5
"""
_FOREVER = 86400.0
#: How often it looks again if what it sees changes, and seconds between two glances at a lock.
_AGAIN = 2
_PAUSE = 0.1


@dataclass(frozen=True)
class _Outcome:
    lines: list[str]
    code: int


def add(commands: Commands) -> None:
    command = add_command(commands, "check", _HELP, _EXAMPLE, run=_run, codes=_CODES)
    answer(command)
    add_name(command, every=True)
    command.add_argument(
        "--connect",
        metavar="HOST:PORT",
        type=address,
        help="connect to this for every host, not to the host itself and port 443 (only "
        "--connect-http looks at plain HTTP then)",
    )
    command.add_argument(
        "--connect-http",
        metavar="HOST:PORT",
        type=address,
        help="the same for plain HTTP, not the host itself and port 80",
    )
    command.add_argument(
        "--ca-file", metavar="FILE", help="trust these root certificates (PEM) as well"
    )
    command.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        default=10.0,
        help="the time limit for each look at a host (default: 10)",
    )


def answer(parser: Parser) -> None:
    """Have a parser answer monitoring, which takes the exit code 2 for critical."""
    parser.__class__ = _Parser


class _Parser(Parser):
    """Answer monitoring: what this parser refuses is unknown."""

    def error(self, message: str) -> NoReturn:
        """Print the one line, and end."""
        help_ = "" if "--help" in message else "certbot-pinkeep check --help"
        outcome = _unknown(None, PinkeepError(f"{message}.", run=help_))
        _print(outcome)
        self.exit(outcome.code)


def _run(parsed: argparse.Namespace) -> int:
    try:
        outcome = _settled(parsed)
    except Exception as error:  # monitoring takes a traceback for an answer
        outcome = _unknown(parsed.name, error)
    _print(outcome)
    return outcome.code


def _print(outcome: _Outcome) -> None:
    print("\n".join(outcome.lines))


def _settled(parsed: argparse.Namespace) -> _Outcome:
    """Look while no run of certbot changes what is looked at."""
    config = context.certbots_config(parsed)
    end = time.monotonic() + parsed.timeout
    before = _stamp(config)
    outcome = _check(parsed, config)
    for _ in range(_AGAIN):
        if outcome.code == 0 or not (_is_locked(config) or _stamp(config) != before):
            break
        while _is_locked(config) and time.monotonic() < end:
            time.sleep(_PAUSE)
        before = _stamp(config)
        outcome = _check(parsed, config)
    return outcome


def _is_locked(config: Any) -> bool:
    """Say whether a run is at work on the keyrings."""
    try:
        return atomic.is_locked(context.workspace_of(config).store.folder)
    except OSError:
        return False


def _stamp(config: Any) -> dict[str, tuple[int, int]]:
    """Take the stamps of what a run changes: records, snippets, live certificates."""
    below = glob.escape(config.config_dir)
    patterns = ("pinkeep/*.conf", "pinkeep/apache/*.conf", "live/*/cert.pem")
    found = {}
    for path in (path for one in patterns for path in glob.glob(f"{below}/{one}")):
        with suppress(OSError):
            seen = os.stat(path)
            found[path] = (seen.st_ino, seen.st_mtime_ns)
    return found


def _check(parsed: argparse.Namespace, config: Any) -> _Outcome:
    # Only here: it takes time to load, and no other command needs it.
    from certbot_pinkeep.adapters import probe
    from certbot_pinkeep.check.findings import exit_code, lines
    from certbot_pinkeep.check.local_files import LocalFiles
    from certbot_pinkeep.check.revocations import Revocations
    from certbot_pinkeep.core.observations import targets

    workspace = context.workspace_of(config)
    store = workspace.store
    names = [context.name_of(parsed)] if parsed.name else store.names()
    if not names:
        raise _nothing()
    states, damaged = context.load(workspace, names)
    files = LocalFiles(config.config_dir, store, _cli_ini(config))
    wanted = {state.keyring.name: targets(_there(files, state.keyring)) for state in states}
    way = probe.Way(parsed.connect, parsed.connect_http, parsed.timeout, parsed.ca_file)
    every = list(dict.fromkeys(target for some in wanted.values() for target in some))
    shown, plain = probe.look(every, way)
    now = clock.now()
    files.revocations = Revocations(config.work_dir, now, parsed.timeout)
    found = [_damaged(error) for error in damaged]
    for state in states:
        mine = {target.name for target in wanted[state.keyring.name]}
        own_shown = [one for one in shown if one.host in mine]
        own_plain = [one for one in plain if one.host in mine]
        step = workspace.step(state.keyring)
        found += _judged(files, state, now, shown=own_shown, plain=own_plain, step=step)
        found += _zone(workspace, state, now)
    found += files.refused_everywhere()
    if not parsed.name:
        found += files.without_record(states, [error.path for error in damaged])
        found += files.certbots()
    hosts = len({one.host for one in shown})
    sound = f"{_count(len(states), 'keyring')}, {_count(hosts, 'host')}: keys, headers and files are sound"
    return _Outcome(lines(found, sound), exit_code(found))


def _nothing() -> PinkeepError:
    return PinkeepError(
        "There is no keyring yet: nothing is pinned.",
        "'certbot certificates' lists the names.",
        run="certbot-pinkeep pin NAME",
    )


def _there(files: LocalFiles, keyring: Keyring) -> Keyring:
    """Return a keyring without the lineages that were deleted."""
    return membership.without_members(keyring, files.deleted(keyring))


def _judged(
    files: LocalFiles,
    state: State,
    now: datetime,
    *,
    shown: list[TlsObservation],
    plain: list[HttpObservation],
    step: str,
) -> list[Finding]:
    """Find what is wrong with a keyring; if that fails, tell that it failed."""
    from certbot_pinkeep import check

    try:
        return check.check(files.look(state, now, shown, plain, step), now)
    except Exception as error:  # the other keyrings are looked at all the same
        return [_failed(state.keyring.name, error)]


def _zone(workspace: Workspace, state: State, now: datetime) -> list[Finding]:
    """Find what is wrong with the zone and the ports of a keyring that has any."""
    if not zone.has_zone(state):
        return []
    from certbot_pinkeep.check import zone_rules

    try:
        seen = zone.bring_up_to_date(workspace, state.keyring.name, now, dry_run=True)
        if seen is None:
            return []
        hosts = tuple(workspace.eyes().mail_hosts(seen.looks))
        looked = zone_rules.SeenZone(
            state, seen.want, seen.looks, seen.ports, seen.missing, seen.errors, hosts
        )
        return list(zone_rules.check(looked, now))
    except Exception as error:  # the rest is looked at all the same
        return [_failed(state.keyring.name, error)]


def _damaged(error: DamagedState) -> Finding:
    from certbot_pinkeep.check.findings import Finding, Severity

    name = error.path.rpartition("/")[2].removesuffix(".conf")
    unknown = isinstance(error.__cause__, PermissionError)  # certbot's user may be able to read it
    return Finding(Severity.UNKNOWN if unknown else Severity.CRITICAL, name, str(error), "")


def _cli_ini(config: Any) -> CliIni:
    """Read what certbot's settings say of every renewal."""
    from certbot_pinkeep.check.local_files import CliIni

    given = certbot_config.is_given(config, "reuse_key")
    return CliIni(config.reuse_key if given else None, options.given(config))


def _unknown(name: str | None, error: Exception) -> _Outcome:
    from certbot_pinkeep.check.findings import exit_code, lines

    found = [_failed(name or "check", error)]
    return _Outcome(lines(found, "")[:1], exit_code(found))


def _failed(where: str, error: Exception) -> Finding:
    from certbot_pinkeep.check.findings import Finding, Severity

    what = f"the check itself failed ({type(error).__name__}: {error})."
    if isinstance(error, PinkeepError):
        what = str(error)
    elif isinstance(error, OSError):
        what = f"{error.filename or 'a file'} cannot be read: {error.strerror or error}."
    return Finding(Severity.UNKNOWN, where, what, "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def address(text: str) -> tuple[str, int]:
    """HOST:PORT, also [2001:db8::1]:443."""
    try:
        # Some Pythons take other digits, signs and underscores for a port as well.
        parts = urlsplit(f"//{text}" if re.search(r":[0-9]{1,5}\Z", text) else "")
        if parts.hostname and parts.port and parts.netloc == text and "@" not in text:
            return parts.hostname, parts.port
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, e.g. 192.0.2.1:443")


def _seconds(text: str) -> float:
    seconds = float(text) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9}", text) else 0.0
    if 0 < seconds <= _FOREVER:
        return seconds
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, e.g. 10")
