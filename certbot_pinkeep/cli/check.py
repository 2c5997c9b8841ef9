"""``certbot-pinkeep check``: looks at the live sites and at the files, for monitoring.

The rules:

* What it prints, and its exit codes, are what monitoring expects (see ``check.findings``). check takes no
  lock, and writes nothing but what the CAs say of revocations, once a day.
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
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from certbot_pinkeep import check
from certbot_pinkeep.adapters import certbot_config, clock, probe
from certbot_pinkeep.check import findings, zone_rules
from certbot_pinkeep.check.findings import Finding, Severity
from certbot_pinkeep.check.local_files import LocalFiles
from certbot_pinkeep.check.revocations import Revocations
from certbot_pinkeep.cli import context
from certbot_pinkeep.cli.parser import Commands, add_command, add_name
from certbot_pinkeep.core import membership, options
from certbot_pinkeep.core.errors import DamagedState, PinkeepError
from certbot_pinkeep.core.observations import HttpObservation, Target, TlsObservation, targets
from certbot_pinkeep.core.state import State
from certbot_pinkeep.storage import atomic
from certbot_pinkeep.storage.store import Store
from certbot_pinkeep.workflow import zone
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


def add(commands: Commands) -> None:
    command = add_command(commands, "check", _HELP, _EXAMPLE, run=_run, codes=_CODES)
    command.answer = usage_error
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


def usage_error(message: str) -> int:
    """Answer monitoring, which takes the exit code 2 for critical: what is not understood is unknown."""
    help_ = "" if "--help" in message else "certbot-pinkeep check --help"
    return _fail("check", PinkeepError(f"{message}.", run=help_))


def _run(parsed: argparse.Namespace) -> int:
    try:
        found, sound = _settled(parsed)
    except Exception as error:  # monitoring takes a traceback for an answer
        return _fail(parsed.name or "check", error)
    print("\n".join(findings.lines(found, sound)))
    return findings.exit_code(found)


def _fail(where: str, error: Exception) -> int:
    found = [_failed(where, error)]
    print(findings.lines(found, "")[0])
    return findings.exit_code(found)


def _settled(parsed: argparse.Namespace) -> tuple[list[Finding], str]:
    """Look while no run of certbot changes what is looked at."""
    config = context.certbots_config(parsed)
    end = time.monotonic() + parsed.timeout
    before = _stamp(config)
    found, sound = _check(parsed, config)
    for _ in range(_AGAIN):
        if not found or not (_is_locked(config) or _stamp(config) != before):
            break
        while _is_locked(config) and time.monotonic() < end:
            time.sleep(_PAUSE)
        before = _stamp(config)
        found, sound = _check(parsed, config)
    return found, sound


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


def _check(parsed: argparse.Namespace, config: Any) -> tuple[list[Finding], str]:
    """Find what is wrong, and say what was looked at."""
    workspace = context.workspace_of(config)
    names = [context.checked(parsed.name)] if parsed.name else workspace.store.names()
    if not names:
        raise PinkeepError(
            "There is no keyring yet: nothing is pinned.",
            "'certbot certificates' lists the names.",
            run="certbot-pinkeep pin NAME",
        )
    states, damaged = context.load(workspace, names)
    wanted = {state.keyring.name: _targets(workspace.store, state) for state in states}
    way = probe.Way(parsed.connect, parsed.connect_http, parsed.timeout, parsed.ca_file)
    every = dict.fromkeys(target for some in wanted.values() for target in some)
    shown, plain = probe.look(list(every), way)
    now = clock.now()
    files = LocalFiles(
        config.config_dir,
        workspace.store,
        options=options.given(config),
        reuse_key=config.reuse_key if certbot_config.is_given(config, "reuse_key") else None,
        revocations=Revocations(config.work_dir, now, parsed.timeout),
    )
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
    hosts = _count(len({one.host for one in shown}), "host")
    sound = f"{_count(len(states), 'keyring')}, {hosts}: keys, headers and files are sound"
    return found, sound


def _targets(store: Store, state: State) -> list[Target]:
    """List the hosts of the lineages that certbot has not deleted."""
    gone = [m.lineage for m in state.keyring.members if m.enrolled and store.is_deleted(m.lineage)]
    return targets(membership.without_members(state.keyring, gone))


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
    try:
        return check.check(files.look(state, now, shown, plain, step), now)
    except Exception as error:  # the other keyrings are looked at all the same
        return [_failed(state.keyring.name, error)]


def _zone(workspace: Workspace, state: State, now: datetime) -> list[Finding]:
    """Find what is wrong with the zone and the ports of a keyring that has any."""
    if not zone.has_zone(state):
        return []
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
    name = error.path.rpartition("/")[2].removesuffix(".conf")
    is_closed = isinstance(
        error.__cause__, PermissionError
    )  # certbot's user may be able to read it
    return Finding(Severity.UNKNOWN if is_closed else Severity.CRITICAL, name, str(error), "")


def _failed(where: str, error: Exception) -> Finding:
    what = f"the check itself failed ({type(error).__name__}: {error})."
    if isinstance(error, PinkeepError):
        what = str(error)
    elif isinstance(error, OSError):
        what = f"{error.filename or 'a file'} cannot be read: {error.strerror or error}."
    return findings.unknown(where, what, "")


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
