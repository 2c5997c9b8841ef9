"""Where a keyring stands, as data (``status --json``) and as text. Pure.

The shape of the data is a promise to scripts and monitoring; times are RFC 3339, UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from certbot_pinkeep import moments, rollover
from certbot_pinkeep.keyring import Key
from certbot_pinkeep.ledger import Ledger
from certbot_pinkeep.policy import Policy
from certbot_pinkeep.rollover import Safety
from certbot_pinkeep.store import State

VERSION = 1


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
    """One block per keyring, for people."""
    return "\n\n".join(_block(state, now) for state in states)


def _keyring(
    state: State, csr_paths: dict[str, list[str]], now: datetime, folder: str
) -> dict[str, Any]:
    keyring, ledger = state.keyring, state.ledger
    return {
        "name": keyring.name,
        "lineages": [member.lineage for member in keyring.members],
        "hosts": list(keyring.hosts),
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
        "published": _published(ledger),
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


def _published(ledger: Ledger) -> str:
    if ledger.current is None:
        return "none"
    return "pending" if ledger.pending else "live"


def _rollover(state: State, now: datetime) -> dict[str, Any]:
    verdict = _soonest(state, now)
    return {
        # Rolling over by age and on command is not there yet: nothing is ever due.
        "due": False,
        "requested": False,
        "safe": verdict.at(now),
        "safe_from": _time(verdict.since),
        "next_due": None,
    }


def _soonest(state: State, now: datetime) -> Safety:
    """The verdict on the backup that can be rolled over to first."""
    verdicts = [
        rollover.safety(key, state.ledger, now)
        for key_type in state.keyring.key_types()
        for key in state.keyring.backups(key_type)
    ]
    known = [verdict for verdict in verdicts if verdict.since is not None]
    if known:
        return min(known, key=lambda verdict: verdict.since or now)
    return verdicts[0] if verdicts else Safety(None, "there is no backup")


def _time(moment: datetime | None) -> str | None:
    return moments.text(moment) if moment else None


def _block(state: State, now: datetime) -> str:
    keyring, ledger = state.keyring, state.ledger
    lines = [
        f"Keyring {keyring.name}",
        f"  Lineages:  {', '.join(member.lineage for member in keyring.members)}",
        f"  Hosts:     {', '.join(keyring.hosts)}",
    ]
    if ledger.current is not None:
        policy = ledger.current.policy
        lines.append(f"  Published: {_published(ledger)}, in {state.snippet or 'no file yet'}")
        lines.append(f"             max-age {policy.max_age} s{_extras(policy)}")
    lines.append("  Keys:")
    lines += [_key_line(state, key, now) for key in keyring.keys if key.role != "retired"]
    verdict = _soonest(state, now)
    if verdict.at(now):
        lines.append("  Rollover:  safe now; to do it, run for each lineage:")
        lines += [
            f"             certbot certonly --cert-name {member.lineage} --force-renewal --new-key "
            "--installer pinkeep"
            for member in keyring.members
        ]
    else:
        lines.append(f"  Rollover:  not safe: {verdict.why}")
    return "\n".join(lines)


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
    return f"    {key.pin}  {key.kind}  {key.role}{service}, {when} {age} days ago"
