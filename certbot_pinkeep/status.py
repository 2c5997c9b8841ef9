"""Where a keyring stands, as data (``status --json``) and as text. Pure.

The shape of the data is a promise to scripts and monitoring; times are RFC 3339, UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from certbot_pinkeep import advice, moments, rollover
from certbot_pinkeep.keyring import Key, Member
from certbot_pinkeep.ledger import Release
from certbot_pinkeep.pins import KeyType
from certbot_pinkeep.policy import Policy
from certbot_pinkeep.rollover import Decision, Safety
from certbot_pinkeep.store import State

VERSION = 1
#: From how many keyrings on each has one line only.
MANY = 20


def as_data(
    states: list[State], csr_paths: dict[str, list[str]], now: datetime, folder: str
) -> dict[str, Any]:
    """The document of ``status --json``.

    :param csr_paths: the saved CSRs by the pin of their key
    :param folder: the config dir, below which key paths are kept
    """
    return {
        "version": VERSION,
        "keyrings": [_keyring(state, csr_paths, now, folder) for state in states],
    }


def as_text(states: list[State], now: datetime) -> str:
    """For people: a block per keyring, or a line each where there are many."""
    if len(states) > MANY:
        return _table(states, now)
    return "\n\n".join(_block(state, now) for state in states)


def _table(states: list[State], now: datetime) -> str:
    heads = ("keyring", "published", "serves", "rollover", "next due")
    rows = [heads, *(_cells(state, now) for state in states)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([*lines, "", "More of one of them: certbot-pinkeep status NAME"])


def _cells(state: State, now: datetime) -> tuple[str, ...]:
    rolls = _rollover(state, now)
    verdict = _last(_decisions(state, now))
    when = f"from {rolls['safe_from']}" if verdict.since else "not known from when"
    if verdict.cause == "elsewhere":
        when = "needs its private key"
    return (
        state.keyring.name,
        _published(state, now),
        ", ".join(key.pin[:10] for key in state.keyring.in_service()) or "nothing",
        "safe now" if verdict.at(now) else when,
        "now" if rolls["due"] else rolls["next_due"] or "never",
    )


def release_lines(state: State, now: datetime) -> list[str]:
    """Each release, for people: what it carries, and until when it binds."""
    return [_release(state, release, now) for release in state.ledger.releases]


def _release(state: State, release: Release, now: datetime) -> str:
    staged = {key.pin for key in state.keyring.keys if key.role == "backup"}
    left = len(staged.intersection(release.pins))
    until = moments.text(release.binds_until(now))
    backups = f"{left} of its pins are backups" if left != 1 else "1 of its pins is a backup"
    after = "" if left else ": no rollover before it ends"
    return (
        f"{release.channel} {release.label}: {len(release.pins)} pins since "
        f"{moments.text(release.recorded)}, binds until {until}; {backups} now{after}"
    )


def backup_lines(state: State, now: datetime) -> list[str]:
    """Each backup, for people: where its private key is, and whether it is safe to switch to."""
    return [
        f"{key.pin}  {key.kind}  {_where(key)}, {_when(rollover.safety(key, state.ledger, now), now)}"
        for key in state.keyring.keys
        if key.role == "backup"
    ]


def _where(key: Key) -> str:
    if key.encrypted:
        return f"encrypted in {key.encrypted}"
    return "offline" if key.path is None else f"in {key.path}"


def _when(verdict: Safety, now: datetime) -> str:
    if verdict.at(now):
        return "safe now"
    return (
        f"safe from {moments.text(verdict.since)}" if verdict.since else f"not safe: {verdict.why}"
    )


def _keyring(
    state: State, csr_paths: dict[str, list[str]], now: datetime, folder: str
) -> dict[str, Any]:
    keyring, ledger = state.keyring, state.ledger
    return {
        "name": keyring.name,
        "lineages": [member.lineage for member in keyring.drawing],
        "hosts": list(dict.fromkeys(host for m in keyring.drawing for host in m.hosts)),
        "keys": [
            {
                "pin": key.pin,
                "key_type": key.kind.key_type,
                "role": key.role,
                "key_path": f"{folder}/{key.path}" if key.path else None,
                "csr_paths": csr_paths.get(key.pin, []),
                "created": moments.text(key.created),
                "first_served": _time(key.first_served),
                "safe_from": _time(rollover.safety(key, ledger, now).since),
            }
            for key in keyring.keys
        ],
        "policy": _policy(ledger.current.policy) if ledger.current else None,
        "published": _published(state, now),
        "rollover": _rollover(state, now),
    }


def _policy(policy: Policy) -> dict[str, Any]:
    return {
        "pins": list(policy.pins),
        "max_age": policy.max_age,
        "include_subdomains": policy.include_subdomains,
        "report_uri": policy.report_uri,
        "report_only": policy.report_only,
    }


def _published(state: State, now: datetime) -> str:
    ledger = state.ledger
    if ledger.current is None or state.unpinned(now):
        return "none"
    return "pending" if ledger.pending else "live"


def _rollover(state: State, now: datetime) -> dict[str, Any]:
    decisions = _decisions(state, now)
    times = [rollover.next_due(state.keyring, now, key_type) for key_type in decisions]
    known = [moment for moment in times if moment is not None]
    verdict = _last(decisions)
    return {
        "due": any(decision.due for decision in decisions.values()),
        "requested": any(decision.due == "asked" for decision in decisions.values()),
        "safe": verdict.at(now),
        "safe_from": _time(verdict.since),
        "next_due": _time(min(known, default=None)),
    }


def _decisions(state: State, now: datetime) -> dict[KeyType, Decision]:
    return {
        key_type: rollover.decide(state.keyring, state.ledger, now, key_type)
        for key_type in state.keyring.served_types()
    }


def _last(decisions: Mapping[KeyType, Decision]) -> Safety:
    """The verdict on the key type that can roll over last: a rollover is one of all types."""
    verdicts = [decision.safety for decision in decisions.values()]
    unknown = [verdict for verdict in verdicts if verdict.since is None]
    if unknown or not verdicts:
        return unknown[0] if unknown else Safety(None, "there is no key")
    return max(verdicts, key=lambda verdict: verdict.since or datetime.max)


def _time(moment: datetime | None) -> str | None:
    return moments.text(moment) if moment else None


def _block(state: State, now: datetime) -> str:
    keyring, ledger = state.keyring, state.ledger
    lines = [
        f"Keyring {keyring.name}",
        f"  Lineages:  {', '.join(map(_lineage, keyring.members)) or 'none any more'}",
        f"  Hosts:     {', '.join(keyring.hosts) or 'none any more'}",
    ]
    if ledger.current is not None:
        policy = ledger.current.policy
        lines.append(f"  Published: {_published(state, now)}, in {state.snippet or 'no file yet'}")
        lines.append(f"             max-age {policy.max_age} s{_extras(policy)}")
    lines += _served_lines(state, now)
    lines += [f"  Rollover:  {line}" for line in _rollover_lines(state, now)]
    lines.append("  Keys:")
    lines += [_key_line(state, key, now) for key in keyring.keys if key.role != "retired"]
    if ledger.releases:
        lines.append("  Releases:")
        lines += [f"    {line}" for line in release_lines(state, now)]
    if state.unpin:
        told = advice.unpinning(keyring.name, state.unpin, ledger, now)
        lines.append(f"  Unpinned:  {told}")
    return "\n".join(lines)


def _served_lines(state: State, now: datetime) -> list[str]:
    """Which keys are served, and which one is next."""
    served = [f"  Serves:    {key.pin} ({key.kind})" for key in state.keyring.in_service()]
    following = [decision.best for decision in _decisions(state, now).values()]
    return served + [f"  Next:      {key.pin} ({key.kind})" for key in following if key]


def _lineage(member: Member) -> str:
    if not member.moved:
        return member.lineage
    confirm = f"certbot-pinkeep confirm {member.moved}"
    return f"{member.lineage} (moved to {member.moved}; once Apache sends its pins, run: {confirm})"


def _rollover_lines(state: State, now: datetime) -> list[str]:
    decisions = _decisions(state, now)
    lines = []
    for key_type, decision in decisions.items():
        due = rollover.next_due(state.keyring, now, key_type)
        if decision.due:
            lines.append(advice.promise(state.keyring.name, decision))
        elif due is not None:
            lines.append(f"due from {moments.text(due)} ({key_type})")
        else:
            lines.append(f"never due by age ({key_type})")
    verdict = _last(decisions)
    if verdict.at(now):
        lines.append(f"safe now; to ask for it, run: certbot-pinkeep rollover {state.keyring.name}")
    else:
        lines.append(f"not safe yet: {verdict.why}")
    return lines


def _extras(policy: Policy) -> str:
    extras = ["includeSubDomains"] if policy.include_subdomains else []
    extras += [f"reports to {policy.report_uri}"] if policy.report_uri else []
    extras += ["report-only: no client holds it"] if policy.report_only else []
    return "".join(f", {extra}" for extra in extras)


def _key_line(state: State, key: Key, now: datetime) -> str:
    served = any(member.pin == key.pin for member in state.keyring.members)
    age = (now - (key.first_served or key.created)).days
    when = "served" if key.first_served else "made"
    service = ", in service" if served and key.role != "in-service" else ""
    where = ""
    if key.elsewhere:
        where = f"; its private key is {'encrypted' if key.encrypted else 'not on this machine'}"
    return f"    {key.pin}  {key.kind}  {key.role}{service}, {when} {age} days ago{where}"
