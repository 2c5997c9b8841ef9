"""Where a keyring stands, as data (``status --json``) and as text. Pure.

The rules:

* The shape of the data is a promise to scripts and monitoring; times are RFC 3339, UTC.
* While Apache has yet to load what is pending, nothing new is said to be served; what it may still
  serve is.
* A rollover is safe only where it can be done: not while the private key that it needs is elsewhere,
  nor with a backup whose file cannot be used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from certbot_pinkeep.core import explain, rollover
from certbot_pinkeep.core import times as moments
from certbot_pinkeep.core.keyring import Key, Keyring, Member
from certbot_pinkeep.core.kinds import KeyType
from certbot_pinkeep.core.ledger import Release
from certbot_pinkeep.core.options import NO_HEADER
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.core.rollover import Decision, Safety
from certbot_pinkeep.core.state import State

VERSION = 1
#: From how many keyrings on each has one line only.
MANY = 20


@dataclass(frozen=True)
class _View:
    """A keyring, seen from *now*.

    :ivar step: the command that brings it into step, where it has no certificate; empty: it has one
    :ivar apart: the lineages that ``certbot renew`` does not roll over, and why
    :ivar hindrance: why ``certbot renew`` does not have Apache send what is pending; empty: it does
    """

    state: State
    now: datetime
    step: str = ""
    apart: Mapping[str, str] = field(default_factory=dict)
    hindrance: str = ""

    @property
    def keyring(self) -> Keyring:
        """Its keys."""
        return self.state.keyring

    @cached_property
    def decisions(self) -> dict[KeyType, Decision]:
        """What the next renewals do."""
        return rollover.decide_all(self.keyring, self.state.ledger, self.now)

    @property
    def verdict(self) -> Safety:
        """When a rollover is safe."""
        return rollover.last(self.decisions)

    @property
    def waiting(self) -> tuple[Key, ...]:
        """The keys that are live and that Apache has yet to load."""
        live = self.keyring.in_service() if self.state.ledger.pending else ()
        return tuple(key for key in live if key.first_served is None)

    @property
    def leaving(self) -> tuple[Key, ...]:
        """The keys that are not live any more and that Apache may still serve."""
        live = {member.pin for member in self.keyring.members}
        keys = self.keyring.keys if self.state.ledger.pending else ()
        return tuple(
            key for key in keys if key.pin not in live and key.first_served and not key.last_served
        )

    @property
    def served(self) -> tuple[Key, ...]:
        """The keys that Apache serves, as far as that is known."""
        live = tuple(key for key in self.keyring.in_service() if key not in self.waiting)
        return (*live, *self.leaving)


def as_data(
    states: list[State],
    csr_paths: dict[str, list[str]],
    now: datetime,
    folder: str,
) -> dict[str, Any]:
    """The document of ``status --json``.

    :param csr_paths: the saved CSRs by the pin of their key
    :param folder: the config dir, below which key paths are kept
    """
    return {
        "version": VERSION,
        "keyrings": [_keyring(_View(state, now), csr_paths, folder) for state in states],
    }


def as_text(
    states: list[State],
    now: datetime,
    steps: Mapping[str, str] | None = None,
    apart: Mapping[str, Mapping[str, str]] | None = None,
    hindrances: Mapping[str, str] | None = None,
) -> str:
    """For people: a block per keyring, or a line each where there are many.

    :param steps: by the names of keyrings that have no certificate, which ``certbot renew`` does not come
        to: the command that brings it into step
    :param apart: the lineages of each keyring that ``certbot renew`` does not roll over, and why
    :param hindrances: why ``certbot renew`` does not have Apache send what is pending, by keyring
    """
    steps, apart, hindrances = steps or {}, apart or {}, hindrances or {}
    views = [
        _View(state, now, steps.get(name, ""), apart.get(name, {}), hindrances.get(name, ""))
        for state in states
        for name in [state.keyring.name]
    ]
    if len(views) > MANY:
        return _table(views)
    return "\n\n".join(_block(view) for view in views)


def _table(views: list[_View]) -> str:
    heads = ("keyring", "published", "serves", "rollover", "next due")
    rows = [heads, *(_cells(view) for view in views)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([*lines, "", "More of one of them: certbot-pinkeep status NAME"])


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
    """Each release, for people: what it carries, and until when it binds."""
    return [_release(state, release, now) for release in state.ledger.releases]


def _release(state: State, release: Release, now: datetime) -> str:
    until = moments.text(release.binds_until(now))
    since = moments.text(release.recorded)
    what = f"{release.channel} {release.label}: {len(release.pins)} pins since {since}"
    if not release.may_bind(now):
        return f"{what}, bound until {until}, and binds nobody any more"
    staged = {key.pin for key in state.keyring.keys if key.role == "backup"}
    left = len(staged.intersection(release.pins))
    backups = f"{left} of its pins are backups" if left != 1 else "1 of its pins is a backup"
    after = "" if left else ": no rollover before it ends"
    return f"{what}, binds until {until}; {backups} now{after}"


def backup_lines(state: State, now: datetime) -> list[str]:
    """Each backup, for people: where its private key is, and whether it is safe to switch to."""
    view = _View(state, now)
    backups = [key for key in state.keyring.keys if key.role == "backup"]
    return [f"{key.pin}  {key.kind}  {_where(key)}{_ready(view, key)}" for key in backups]


def _where(key: Key) -> str:
    if key.encrypted:
        return f"encrypted in {key.encrypted}"
    return "offline" if key.path is None else f"in {key.path}"


def _ready(view: _View, key: Key) -> str:
    if key.is_lost:
        step = view.step or "certbot renew"
        return f", not usable: {key.fault} Restore the file, or have another backup staged. Run: {step}"
    verdict, now = rollover.safety(key, view.state.ledger, view.now), view.now
    if verdict.since is None:
        return f", not safe: {verdict.why}"
    when = "safe now" if verdict.at(now) else f"safe from {moments.text(verdict.since)}"
    if not key.offline:
        return f", {when}"
    bring = f"certbot-pinkeep backup {view.keyring.name} add --key FILE"
    return f", {when}, but its private key has to be brought first: {bring}"


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
                "created": moments.text(key.created),
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
    """The names of the lineages that draw on it now."""
    return list(dict.fromkeys(host for member in keyring.drawing for host in member.hosts))


def _policy(policy: Policy | None) -> dict[str, Any]:
    """What is published; where nothing is, nothing in the same shape."""
    return {
        "pins": list(policy.pins) if policy else [],
        "max_age": policy.max_age if policy else 0,
        "include_subdomains": policy is not None and policy.include_subdomains,
        "report_uri": policy.report_uri if policy else None,
        "report_only": policy is not None and policy.report_only,
    }


def _has_no_header(state: State) -> bool:
    """Whether the keyring is for apps and zones only, and no server sends its header."""
    return state.settings.get("header") == NO_HEADER and not state.snippet


def _published(view: _View) -> str:
    ledger = view.state.ledger
    if ledger.current is None or view.state.unpinned(view.now) or _has_no_header(view.state):
        return "none"
    return "pending" if ledger.pending else "live"


def _rollover(view: _View) -> dict[str, Any]:
    decisions, verdict = view.decisions, view.verdict
    times = [rollover.next_due(view.keyring, view.now, key_type) for key_type in decisions]
    known = [moment for moment in times if moment is not None]
    return {
        "due": any(decision.due for decision in decisions.values()),
        "requested": any(decision.due == "asked" for decision in decisions.values()),
        "safe": verdict.at(view.now),
        # Whoever compares it with the time must not be told that a rollover is safe that is refused.
        "safe_from": _time(None if verdict.cause == "offline" else verdict.since),
        "next_due": _time(min(known, default=None)),
    }


def _time(moment: datetime | None) -> str | None:
    return moments.text(moment) if moment else None


def _block(view: _View) -> str:
    keyring, ledger = view.keyring, view.state.ledger
    lines = [
        f"Keyring {keyring.name}",
        f"  Lineages:  {', '.join(map(_lineage, keyring.members)) or 'none any more'}",
        f"  Hosts:     {', '.join(_hosts(keyring)) or 'none any more'}",
    ]
    if ledger.current is not None:
        policy = ledger.current.policy
        where = f"in {view.state.snippet or 'no file yet'}"
        if _has_no_header(view.state):
            where = "no server sends a header (--pinkeep-header none)"
        lines.append(f"  Published: {_published(view)}, {where}")
        lines.append(f"             max-age {policy.max_age} s{_extras(policy)}")
    if ledger.pending:
        lines.append(f"  Pending:   {_pending(view)}")
    lines += _served_lines(view)
    lines += [f"  Rollover:  {line}" for line in _rollover_lines(view)]
    lines.append("  Keys:")
    shown = [key for key in keyring.keys if key.role != "retired" or key in view.leaving]
    lines += [_key_line(view, key) for key in shown]
    if ledger.releases:
        lines.append("  Releases:")
        lines += [f"    {line}" for line in release_lines(view.state, view.now)]
    if view.state.unpin:
        step = view.step or "certbot renew"
        told = explain.unpinning(keyring.name, view.state.unpin, ledger, view.now, step)
        lines.append(f"  Unpinned:  {told}")
    return "\n".join(lines)


def _pending(view: _View) -> str:
    """What Apache has yet to load, and what makes it."""
    keys = "".join(f" and the key {key.pin}" for key in view.waiting)
    confirm = f"certbot-pinkeep confirm {view.keyring.name}"
    if view.hindrance:
        return view.hindrance
    if view.step and not view.state.unpin:
        return f"Apache has yet to load the pins{keys}: reload it, and run: {confirm}"
    return (
        f"Apache has yet to load the pins{keys}: '{view.step or 'certbot renew'}' reloads it, where its "
        f"configuration test passes; where you reload it yourself, run: {confirm}"
    )


def _served_lines(view: _View) -> list[str]:
    """Which keys are served, and which one is next."""
    following = [decision.best for decision in view.decisions.values()]
    return [
        *(f"  Serves:    {key.pin} ({key.kind})" for key in view.served),
        *(f"  Next:      {key.pin} ({key.kind})" for key in following if key),
    ]


def _lineage(member: Member) -> str:
    if not member.enrolled:
        enrol = f"certbot renew --cert-name {member.lineage} --installer pinkeep"
        return f"{member.lineage} (not renewed by pinkeep, its key is pinned too; to enrol it, run: {enrol})"
    if not member.transferred:
        return member.lineage
    confirm = f"certbot-pinkeep confirm {member.transferred}"
    return f"{member.lineage} (moved to {member.transferred}; once Apache sends its pins, run: {confirm})"


def _rollover_lines(view: _View) -> list[str]:
    name, verdict = view.keyring.name, view.verdict
    if view.step or not view.keyring.drawing:
        return ["nothing to roll over: no certificate draws on it"]
    lines = [_due(view, key_type, decision) for key_type, decision in view.decisions.items()]
    if lines and all(decision.held for decision in view.decisions.values()):
        return lines  # they say why
    if not any(decision.due for decision in view.decisions.values()):
        lines += explain.rolled_by(view.apart)
    if verdict.at(view.now):
        lines.append(f"safe now; to ask for it, run: certbot-pinkeep rollover {name}")
    elif verdict.cause:
        here = "".join(explain.here(decision) for decision in view.decisions.values())
        lines.append(f"not safe yet: {verdict.why}. {explain.when_safe(name, verdict)}{here}")
    else:
        lines.append(f"not safe yet: {verdict.why}")
    return lines


def _due(view: _View, key_type: KeyType, decision: Decision) -> str:
    """When a rollover is due."""
    if decision.due:
        return explain.promise(view.keyring.name, decision, apart=view.apart)
    due, days = rollover.next_due(view.keyring, view.now, key_type), view.keyring.rollover_days
    if due is not None:
        return f"due from {moments.text(due)} ({key_type})"
    if days is None:
        return f"never due by age ({key_type})"
    return f"due {days} days after Apache has loaded the key ({key_type})"


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
    served = any(member.pin == key.pin for member in view.keyring.members)
    return ", in service" if served and key.role != "in-service" else ""


def _file(view: _View, key: Key) -> str:
    if key.offline:
        return f"; its private key is {'encrypted' if key.encrypted else 'not on this machine'}"
    return f"; not usable: {key.fault}" if key.fault else ""
