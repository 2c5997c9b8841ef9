"""Show the state of a keyring, as data (``status --json``) and as text. Pure.

The rules:

* The shape of the data is a promise to scripts and monitoring; times are RFC 3339, UTC.
* Until Apache has loaded what is pending, ``served`` names the keys that Apache may still serve.
* A rollover is safe only if it is possible: not while the private key of its backup is offline, nor with a
  backup whose file cannot be used.
* The text has a command on a line of its own, below what the command is for.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from certbot_pinkeep.core import explain, rollover, times
from certbot_pinkeep.core.holdings import Release
from certbot_pinkeep.core.keyring import Key, Keyring, Member
from certbot_pinkeep.core.kinds import KeyType
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.core.rollover import Decision, Safety
from certbot_pinkeep.core.state import State
from certbot_pinkeep.core.text import command, joined
from certbot_pinkeep.core.tlsa import short
from certbot_pinkeep.core.zone import Service

VERSION = 1
#: From how many keyrings on each has one line only.
MANY = 20


@dataclass(frozen=True)
class Around:
    """What a keyring's file does not say of it.

    :ivar step: the command that brings a keyring without certificates up to date; empty: it has some
    :ivar apart: the lineages that ``certbot renew`` does not roll over, and why
    :ivar hindrance: why ``certbot renew`` does not have Apache send what is pending; empty: nothing
    """

    step: str = ""
    apart: Mapping[str, str] = field(default_factory=dict)
    hindrance: str = ""


@dataclass(frozen=True)
class _View:
    """A keyring, seen from *now*."""

    state: State
    now: datetime
    around: Around = Around()

    @property
    def keyring(self) -> Keyring:
        """Return its keys."""
        return self.state.keyring

    @cached_property
    def decisions(self) -> dict[KeyType, Decision]:
        """Decide what the next renewals do."""
        return rollover.decide_all(self.keyring, self.state.ledger, self.now)

    @property
    def verdict(self) -> Safety:
        """Say when a rollover is safe."""
        return rollover.last(self.decisions)

    @property
    def waiting(self) -> tuple[Key, ...]:
        """Find the keys that are live and that Apache has yet to load."""
        live = self.keyring.in_service() if self.state.ledger.pending else ()
        return tuple(key for key in live if key.first_served is None)

    @property
    def leaving(self) -> tuple[Key, ...]:
        """Find the keys that are not live any more, but that Apache may still serve."""
        live = self.keyring.served_pins
        keys = self.keyring.keys if self.state.ledger.pending else ()
        return tuple(
            key for key in keys if key.pin not in live and key.first_served and not key.last_served
        )

    @property
    def served(self) -> tuple[Key, ...]:
        """Find the keys that Apache serves, as far as pinkeep knows."""
        live = tuple(key for key in self.keyring.in_service() if key not in self.waiting)
        return (*live, *self.leaving)


def as_data(
    states: list[State],
    csr_paths: dict[str, list[str]],
    now: datetime,
    folder: str,
) -> dict[str, Any]:
    """Build the document of ``status --json``.

    :param csr_paths: the saved CSRs by the pin of their key
    :param folder: the config dir, which the paths of keys begin with
    """
    return {
        "version": VERSION,
        "keyrings": [_keyring(_View(state, now), csr_paths, folder) for state in states],
    }


def as_text(
    states: list[State], now: datetime, around: Callable[[State], Around] = lambda state: Around()
) -> str:
    """Write for people: a block per keyring, or a line each if there are many.

    :param around: finds what a keyring's file does not say; it is not asked for a line
    """
    if len(states) > MANY:
        return _table([_View(state, now) for state in states])
    return "\n\n".join(_block(_View(state, now, around(state))) for state in states)


def _table(views: list[_View]) -> str:
    heads = ("keyring", "published", "serves", "rollover", "next due")
    rows = [heads, *(_cells(view) for view in views)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    more = joined("To see more of a keyring, name it.", command("certbot-pinkeep status NAME"))
    return "\n".join([*lines, "", more])


def _cells(view: _View) -> tuple[str, ...]:
    rolls, verdict = _rollover(view), view.verdict
    when = f"from {rolls['safe_from']}" if verdict.since else "not known from when"
    if verdict.cause == "offline":
        when = "needs its private key"
    later = "never" if view.keyring.rollover_days is None else "not known yet"
    return (
        view.keyring.name,
        _published(view),
        ", ".join(key.pin[:10] for key in view.served) or "nothing",
        "safe now" if verdict.at(view.now) else when,
        "now" if rolls["due"] else rolls["next_due"] or later,
    )


def release_lines(state: State, now: datetime) -> list[str]:
    """Write a line for each release: what it carries, and until when it binds."""
    return [_release(state, release, now) for release in state.ledger.releases]


def _release(state: State, release: Release, now: datetime) -> str:
    until = times.text(release.binds_until(now))
    since = times.text(release.recorded)
    what = f"{release.channel} {release.label}: {len(release.pins)} pins since {since}"
    if not release.may_bind(now):
        return f"{what}, bound until {until}, and binds nobody any more"
    staged = {key.pin for key in state.keyring.keys if key.role == "backup"}
    left = len(staged.intersection(release.pins))
    backups = f"{left} of its pins are backups" if left != 1 else "1 of its pins is a backup"
    after = "" if left else ": no rollover before it ends"
    return f"{what}, binds until {until}; {backups} now{after}"


def backup_lines(state: State, now: datetime) -> list[str]:
    """Write a line for each backup: the place of its private key, and from when it is safe."""
    view = _View(state, now)
    backups = [key for key in state.keyring.keys if key.role == "backup"]
    lines = [f"{key.pin}  {key.kind}  {_where(key)}{_ready(view, key)}" for key in backups]
    return [line.replace("\n", "\n    ") for line in lines]


def _where(key: Key) -> str:
    if key.encrypted:
        return f"encrypted in {key.encrypted}"
    return "offline" if key.path is None else f"in {key.path}"


def _ready(view: _View, key: Key) -> str:
    if key.is_lost:
        stage = command(view.around.step or "certbot renew")
        return joined(
            f", not usable: {key.fault} Restore the file. If it is lost, stage another backup.",
            stage,
        )
    verdict, now = rollover.safety(key, view.state.ledger, view.now), view.now
    if verdict.since is None:
        return f", not safe: {verdict.why}"
    when = "safe now" if verdict.at(now) else f"safe from {times.text(verdict.since)}"
    if not key.offline:
        return f", {when}"
    bring = command(f"certbot-pinkeep backup {view.keyring.name} add --key FILE")
    return joined(f", {when}, but pinkeep needs its private key first.", bring)


def _keyring(view: _View, csr_paths: dict[str, list[str]], folder: str) -> dict[str, Any]:
    keyring, ledger = view.keyring, view.state.ledger
    return {
        "name": keyring.name,
        "lineages": [member.lineage for member in keyring.drawing],
        "hosts": _hosts(keyring),
        "keys": [
            {
                "pin": key.pin,
                "key_type": key.kind.key_type,
                "role": key.role,
                "key_path": f"{folder}/{key.path}" if key.path else None,
                "csr_paths": csr_paths.get(key.pin, []),
                "created": times.text(key.created),
                "first_served": _time(key.first_served),
                "safe_from": _time(rollover.safety(key, ledger, view.now).since),
            }
            for key in keyring.keys
        ],
        "policy": _policy(ledger.current.policy if ledger.current else None),
        "published": _published(view),
        "rollover": _rollover(view),
    }


def _hosts(keyring: Keyring) -> list[str]:
    """List the names of the lineages that draw on it now."""
    return list(dict.fromkeys(host for member in keyring.drawing for host in member.hosts))


def _policy(policy: Policy | None) -> dict[str, Any]:
    """Build what is published; if nothing is, an empty policy in the same shape."""
    return {
        "pins": list(policy.pins) if policy else [],
        "max_age": policy.max_age if policy else 0,
        "include_subdomains": policy is not None and policy.include_subdomains,
        "report_uri": policy.report_uri if policy else None,
        "report_only": policy is not None and policy.report_only,
    }


def _published(view: _View) -> str:
    ledger = view.state.ledger
    if ledger.current is None or view.state.unpinned(view.now) or view.state.is_without_header:
        return "none"
    return "pending" if ledger.pending else "live"


def _rollover(view: _View) -> dict[str, Any]:
    decisions, verdict = view.decisions, view.verdict
    dues = [rollover.next_due(view.keyring, view.now, key_type) for key_type in decisions]
    known = [time for time in dues if time is not None]
    return {
        "due": any(decision.due for decision in decisions.values()),
        "requested": any(decision.due == "asked" for decision in decisions.values()),
        "safe": verdict.at(view.now),
        # A script compares this with the time: no time is safe while pinkeep refuses the rollover.
        "safe_from": _time(None if verdict.cause == "offline" else verdict.since),
        "next_due": _time(min(known, default=None)),
    }


def _time(time: datetime | None) -> str | None:
    return times.text(time) if time else None


def _block(view: _View) -> str:
    keyring, ledger = view.keyring, view.state.ledger
    lines = [
        f"Keyring {keyring.name}",
        _told("Lineages", _lineages(keyring)),
        f"  Hosts:     {', '.join(_hosts(keyring)) or 'none any more'}",
    ]
    if ledger.current is not None:
        policy = ledger.current.policy
        where = f"in {view.state.snippet or 'no file yet'}"
        if view.state.is_without_header:
            where = "no server sends a header (--pinkeep-header none)"
        lines.append(f"  Published: {_published(view)}, {where}")
        if not view.state.is_without_header:
            lines.append(f"             max-age {policy.max_age} s{_extras(policy)}")
    if ledger.pending:
        lines.append(_told("Pending", _pending(view)))
    lines += _served_lines(view)
    lines += [_zone_line(one) for one in view.state.services]
    lines += [_told("Rollover", message) for message in _rollover_messages(view)]
    lines.append("  Keys:")
    shown = [key for key in keyring.keys if key.role != "retired" or key in view.leaving]
    lines += [_key_line(view, key) for key in shown]
    if ledger.releases:
        lines.append("  Releases:")
        lines += [f"    {line}" for line in release_lines(view.state, view.now)]
    if view.state.unpin:
        step = view.around.step or "certbot renew"
        told = explain.unpinning(view.state, view.now, step)
        lines.append(_told("Unpinned", told))
    return "\n".join(lines)


def _told(title: str, message: str) -> str:
    """Write a message beside its title; commands stay on lines of their own."""
    return f"  {f'{title}:':10} " + message.replace("\n", f"\n{'':13}")


def _pending(view: _View) -> str:
    """Tell what Apache has yet to load, and which command makes Apache load it."""
    keys = "".join(f" and the key {key.pin}" for key in view.waiting)
    confirm = command(f"certbot-pinkeep confirm {view.keyring.name}")
    waits = f"The web server has yet to load the pins{keys}."
    if view.around.hindrance:
        return view.around.hindrance
    if view.around.step and not view.state.unpin:
        return joined(f"{waits} Reload the web server, then confirm that.", confirm)
    return joined(
        f"{waits} If the server's configuration test passes, this command reloads the web server.",
        command(view.around.step or "certbot renew"),
        "If you reload the web server yourself, reload it, then confirm that.",
        confirm,
    )


def _zone_line(service: Service) -> str:
    """Write what a port was seen to serve whose key is pinned in the zone."""
    seen = f"seen {times.text(service.seen)}" if service.seen else "not seen yet"
    shown = ", ".join(map(short, service.pins)) or "nothing"
    return f"  TLSA:      {service.port}, {seen}, serves {shown}"


def _served_lines(view: _View) -> list[str]:
    """Write which keys are served, and which key is next."""
    following = [decision.best for decision in view.decisions.values()]
    return [
        *(f"  Serves:    {key.pin} ({key.kind})" for key in view.served),
        *(f"  Next:      {key.pin} ({key.kind})" for key in following if key),
    ]


def _lineages(keyring: Keyring) -> str:
    """Name the lineages of a keyring, and tell what is left to do for them."""
    named = ", ".join(map(_lineage, keyring.members)) or "none any more"
    messages = [one for member in keyring.members for one in _lineage_messages(member)]
    return "\n".join([named, joined(*messages)]) if messages else named


def _lineage(member: Member) -> str:
    if not member.enrolled:
        return f"{member.lineage} (its key is pinned, too, but pinkeep does not renew it)"
    if not member.transferred:
        return member.lineage
    return f"{member.lineage} (moved to {member.transferred})"


def _lineage_messages(member: Member) -> list[str]:
    """Tell what is left to do for a lineage."""
    if not member.enrolled:
        return [
            f"To enrol {member.lineage}, run this command.",
            command(f"certbot renew --cert-name {shlex.quote(member.lineage)} --installer pinkeep"),
        ]
    if not member.transferred:
        return []
    return [
        f"After the web server sends the pins of {member.transferred} for {member.lineage}, confirm that.",
        command(f"certbot-pinkeep confirm {member.transferred}"),
    ]


def _rollover_messages(view: _View) -> list[str]:
    name, verdict = view.keyring.name, view.verdict
    if view.around.step or not view.keyring.drawing:
        return [f"nothing to roll over: no certificate draws on {name}"]
    messages = [_due(view, key_type, decision) for key_type, decision in view.decisions.items()]
    if messages and all(decision.held for decision in view.decisions.values()):
        return messages  # they say why
    if not any(decision.due for decision in view.decisions.values()):
        messages += explain.rolled_by(view.around.apart)
    if verdict.at(view.now):
        messages.append(
            joined(
                "safe now. To roll over at the next renewal, ask for that.",
                command(f"certbot-pinkeep rollover {name}"),
            )
        )
    elif verdict.cause:
        here = (explain.here(decision) for decision in view.decisions.values())
        when = explain.when_safe(name, verdict)
        messages.append(joined(f"not safe yet: {verdict.why}.", *here, when))
    else:
        messages.append(f"not safe yet: {verdict.why}")
    return messages


def _due(view: _View, key_type: KeyType, decision: Decision) -> str:
    """Tell when a rollover is due."""
    if decision.due:
        return explain.promise(view.keyring.name, decision, apart=view.around.apart)
    due, days = rollover.next_due(view.keyring, view.now, key_type), view.keyring.rollover_days
    if due is not None:
        return f"due from {times.text(due)} ({key_type})"
    if days is None:
        return f"never due by age ({key_type})"
    return f"due {days} days after the web server has loaded the key ({key_type})"


def _extras(policy: Policy) -> str:
    extras = ["includeSubDomains"] if policy.include_subdomains else []
    extras += [f"reports to {policy.report_uri}"] if policy.report_uri else []
    extras += ["report-only: no client holds it"] if policy.report_only else []
    return "".join(f", {extra}" for extra in extras)


def _key_line(view: _View, key: Key) -> str:
    when = "served" if key.first_served else "made"
    age = _age(key.first_served or key.created, view.now)
    return f"    {key.pin}  {key.kind}  {key.role}{_service(view, key)}, {when} {age}{_file(view, key)}"


def _age(since: datetime, now: datetime) -> str:
    return f"{(now - since).days} days ago" if since <= now else "in the future by this clock"


def _service(view: _View, key: Key) -> str:
    if key in view.waiting:
        return ", not loaded yet"
    if key in view.leaving:
        return ", may still be served"
    served = key.pin in view.keyring.served_pins
    return ", in service" if served and key.role != "in-service" else ""


def _file(view: _View, key: Key) -> str:
    if key.offline:
        return f"; its private key is {'encrypted' if key.encrypted else 'not on this machine'}"
    return f"; not usable: {key.fault}" if key.fault else ""
