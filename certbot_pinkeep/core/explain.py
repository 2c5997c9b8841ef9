"""Tell admins about a rollover: why, from when, which clients it locks out, what to run. Pure.

The rules:

* A refusal names the earliest safe time. If that time is unknown, the refusal says why, and which command
  makes it known.
* Each policy that locks clients out is named: since when it was served, and until when clients hold it.
  If anything is not known, the message says so.
* Every command is on a line of its own (see ``core.text``).
* Pins are public; a private key never occurs here (G7).

What is told about the hosts of a keyring is in ``explain_hosts``.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime

from certbot_pinkeep.core import rollover, times
from certbot_pinkeep.core.errors import BadOption, NoKeyringName
from certbot_pinkeep.core.explain_hosts import carried, ended, renewal
from certbot_pinkeep.core.holdings import Holding, Release, ZoneEntry
from certbot_pinkeep.core.keyring import Key, Keyring
from certbot_pinkeep.core.ledger import Ledger, Uncertainty
from certbot_pinkeep.core.options import SWITCHES
from certbot_pinkeep.core.rollover import Cause, Decision, Safety
from certbot_pinkeep.core.state import State
from certbot_pinkeep.core.text import command, domains, joined

NOBODY = "This rollover locks nobody out."
_RENEW = command("certbot renew")
_REASONS = {
    "age": "--pinkeep-rollover-days",
    "asked": "you asked for it",
    "revoked": "its certificate was revoked",
    "compromised": "the key is compromised",
    "shared": "the certificates of a keyring share a key",
}


def lost(key: Key) -> str:
    """Tell that the file of a backup cannot be used."""
    return f"{key.fault} pinkeep will not use the backup with the pin {key.pin} until its file is restored."


def replaced(name: str, count: int, safety: Safety) -> str:
    """Tell that new backups take the places of those whose files cannot be used."""
    new = f"{count} new backup key{'s' if count > 1 else ''}"
    when = when_safe(name, safety)
    if safety.since is not None:
        when = f"A rollover to the first new key is safe from {times.text(safety.since)}."
    return joined(
        f"pinkeep staged {new} for the keyring {name} in place of the unusable ones.",
        when,
        "If you restore the old files, the next renewal stages the old backup keys again.",
        _RENEW,
    )


def reason(decision: Decision) -> str:
    """Tell why a rollover is due, as a part of a sentence."""
    return _REASONS[decision.due] if decision.due else "nothing is due"


def rolling(name: str, decision: Decision) -> str:
    """Tell that a certificate is about to be issued for a backup."""
    assert decision.key is not None
    return (
        f"The keyring {name} rolls over to the key with the pin {decision.key.pin} "
        f"({reason(decision)})."
    )


def held(name: str, decision: Decision) -> str:
    """Tell that a renewal keeps the current key though a rollover is due (G3)."""
    return joined(
        f"A rollover of the keyring {name} is due ({reason(decision)}), but is not safe yet: "
        f"{decision.safety.why}.",
        "This renewal keeps the current key. The first renewal that is safe rolls the keyring over.",
        when_safe(name, decision.safety),
    )


def not_yet_issued(name: str, decision: Decision) -> str:
    """Tell that a new certificate would lock clients out that hold pins for its names (G2)."""
    return joined(
        f"No certificate was issued for the key of the keyring {name}: {decision.safety.why}.",
        "Ask for the certificate again after the key is safe.",
        when_safe(name, decision.safety),
    )


def not_added(
    keyring: Keyring,
    ledger: Ledger,
    lineage: str,
    *,
    added: tuple[str, ...],
    pin: str,
    now: datetime,
) -> str:
    """Tell that a certificate cannot have names at which its key locks clients out (G2).

    :param pin: of the key that the certificate would be issued for
    """
    name, names, key = keyring.name, ", ".join(added), keyring.key(pin)
    held = "; ".join(victims(one, now) for one in rollover.locked_out(pin, ledger, now, added))
    told = joined(
        f"No certificate was issued for {lineage} with {names} as well. Such a certificate locks out {held}: "
        f"they do not hold the pin {pin} of the new certificate there. The current certificate stays, and "
        f"is renewed without {names}. Ask for the certificate with {names} again after its key is safe "
        "there.",
        when_safe(name, rollover.safety(key, ledger, now, added)) if key else "",
    )
    if key is not None and key.role == "primary":
        return (
            told  # a new one is issued for the primary, which is refused there for the same reason
        )
    own = f"certbot certonly --installer pinkeep --pinkeep-keyring {name}{domains(added)}"
    return joined(told, f"Or ask for a separate certificate for {names}.", command(own))


def staged(name: str, safety: Safety) -> str:
    """Tell that the first keys of a type are pinned in advance."""
    why = f": {safety.why}" if safety.why else ""
    known = "" if safety.since is None else "Ask for the certificate again then."
    return joined(
        f"pinkeep pins such keys in advance from now on{why}.", when_safe(name, safety), known
    )


def recorded(
    name: str, release: Release, refused: Mapping[str, tuple[str, ...]], now: datetime
) -> str:
    """Tell that a release is on record, and which keys lock its clients out (G2).

    :param refused: the keys that lock them out, and the lineages that serve each of them
    """
    what, until = f"{release.channel} {release.label}", times.text(release.binds_until(now))
    if not refused:
        return (
            f"{what} carries {len(release.pins)} pins of the keyring {name}: until {until} no rollover "
            f"locks out {what}."
        )
    told = f"{what} is on record with {len(release.pins)} pins of the keyring {name}."
    for pin, lineages in refused.items():
        whose = f"of {', '.join(lineages)}" if lineages else "that a forced rollover takes"
        told += (
            f" The key {whose}, with the pin {pin}, is not among them. That key locks out every client that "
            f"relies on {what}, until {until}."
        )
    if not all(refused.values()):
        told = joined(
            told,
            "To take the forced rollover back, do so before the next renewal.",
            command(f"certbot-pinkeep rollover {name} --undo"),
        )
    return joined(told, f"If nobody uses {what} any more, end it.", ended(name, release))


def promise(
    name: str, decision: Decision, *, force: bool = False, apart: Mapping[str, str] | None = None
) -> str:
    """Tell what the next renewal does after a rollover was recorded.

    :param apart: the lineages that ``certbot renew`` does not roll over, and what keeps it from that
    """
    return joined(_promise(name, decision, force=force), *rolled_by(apart or {}))


def rolled_by(apart: Mapping[str, str]) -> list[str]:
    """Tell which command rolls over what ``certbot renew`` does not, as messages."""
    return [
        joined(
            f"'certbot renew' does not roll {lineage} over, because of '{why}' in its renewal file.",
            command(f"certbot renew --cert-name {shlex.quote(lineage)} --force-renewal"),
        )
        for lineage, why in apart.items()
    ]


def _promise(name: str, decision: Decision, *, force: bool) -> str:
    best, why = decision.best, decision.safety.why
    if best is None:
        return joined(f"The keyring {name} rolls over after it has a backup key.", _RENEW)
    if decision.rolls_over or force:
        return f"The next renewal rolls the keyring {name} over to the key with the pin {best.pin}."
    told = joined(
        f"The first renewal that is safe rolls the keyring {name} over to the key with the pin "
        f"{best.pin}: {why}.",
        "Until then renewals keep the current key."
        if decision.key
        else "pinkeep never hands over the current key again: until then renewals fail.",
        _waits(name, decision),
    )
    if decision.key or (best.offline and not decision.available):
        return told
    return joined(
        told,
        "To renew now, and lock clients out, force the rollover.",
        command(f"certbot-pinkeep rollover {name} --now --force"),
    )


def refusal(name: str, decision: Decision) -> str:
    """Tell that a rollover which the admin asked for would lock clients out (G2)."""
    return joined(
        f"The keyring {name} cannot roll over yet: {decision.safety.why}.",
        _waits(name, decision),
        "To have the first renewal that is safe roll the keyring over, ask for that.",
        command(f"certbot-pinkeep rollover {name} --when-safe"),
    )


def locked_in(
    keyring: Keyring, decision: Decision, ledger: Ledger, *, now: datetime, new: bool = False
) -> str:
    """Tell that the key is compromised, and no backup is safe (G3).

    :param new: whether a new certificate was asked for, not a renewal
    """
    name, best = keyring.name, decision.best
    told = f"The key of the keyring {name} is compromised, and pinkeep never hands it over again."
    if best is None:
        return joined(
            told,
            "There is no backup key. Stage a backup.",
            command(
                f"certbot install --installer pinkeep --cert-name {shlex.quote(keyring.example)}"
            ),
            "Then renew for that backup.",
            command(f"certbot-pinkeep rollover {name} --now --force"),
        )
    forced = decision.available if best.offline else best
    return joined(
        f"{told} No backup is safe yet: {decision.safety.why}.",
        "" if new else "The old certificate stays until then.",
        _waits(name, decision),
        _forced(name, forced, ledger, now, new=new) if forced else "",
    )


def _forced(name: str, best: Key, ledger: Ledger, now: datetime, *, new: bool) -> str:
    """Tell which command forces which backup, and which clients it locks out until when (G3)."""
    return joined(
        f"The least bad backup is the key with the pin {best.pin}. {announcement(best, ledger, now)}",
        "To have a certificate now all the same, force the rollover, then ask for the certificate again."
        if new
        else "To renew now all the same, force the rollover.",
        command(f"certbot-pinkeep rollover {name} {'--force' if new else '--now --force'}"),
    )


def here(decision: Decision) -> str:
    """Tell from when a backup can be used whose private key is here; empty: unknown."""
    backup, since = decision.available, decision.available_since
    if backup is None or since is None:
        return ""
    return (
        f"The backup with the pin {backup.pin} is here, and is not safe before {times.text(since)}."
    )


def _waits(name: str, decision: Decision) -> str:
    """Tell from when a backup can be used, and what makes that sooner."""
    best = decision.best
    told = joined(here(decision), when_safe(name, decision.safety))
    if best is None or not best.offline:
        return told
    drop = command(f"certbot-pinkeep backup {name} drop {best.pin}")
    return joined(told, "If the private key is lost for good, drop its pin.", drop)


def announcement(
    key: Key, ledger: Ledger, now: datetime, hosts: tuple[str, ...] | None = None
) -> str:
    """Tell which clients a rollover to *key* at *now* locks out, and until when.

    :param hosts: the names at which the key is to be served; ``None``: all that are pinned
    """
    told = [victims(one, now) for one in rollover.locked_out(key.pin, ledger, now, hosts)]
    unknown = ledger.uncertainty(now)
    if unknown is not None and unknown.end is not None:
        until = times.text(unknown.end)
        told.append(f"clients that hold pins that are not on record ({unknown.why}), until {until}")
    elif unknown is not None:
        told.append(f"other clients, which are unknown: {unknown.why}")
    if not told:
        return NOBODY
    return f"This rollover locks out {'; '.join(told)}."


def victims(one: Holding, now: datetime) -> str:
    """Name the clients that hold a policy or a release, as a part of a sentence."""
    until = times.text(one.binds_until(now))
    since = times.text(one.recorded)
    if isinstance(one, Release):
        return f"clients that rely on {one}, until {until}"
    if isinstance(one, ZoneEntry):
        later = "" if one.replaced else " or later"
        return f"clients that hold {one}, until {until}{later}"
    if one.replaced is None:
        return (
            f"clients that note the pins that may be served since {since}, until {until} or later"
        )
    return f"clients that noted the pins served from {since} to {times.text(one.replaced)}, until {until}"


def given_anew(lineage: str, error: BadOption) -> str:
    """Write the command that gives an option anew which has a value that cannot be used."""
    option = error.option.removeprefix("--pinkeep-")
    wanted = f"--pinkeep-no-{option}" if option in SWITCHES else f"--pinkeep-{option} VALUE"
    if isinstance(error, NoKeyringName):
        wanted = f"--pinkeep-keyring {error.better}"
    return f"certbot renew --cert-name {shlex.quote(lineage)} --installer pinkeep {wanted}"


def refused_already(keyring: str, lineages: list[str]) -> str:
    """Tell that a rollover locks out only clients that refuse the current certificates already."""
    which = ", ".join(lineages)
    return joined(
        "This rollover locks out no more clients.",
        f"Clients that hold pins of the keyring {keyring} refuse the current key of {which} already.",
        command(renewal(lineages[0])),
    )


def unconfirmed(name: str, unknown: Uncertainty) -> str:
    """Tell that nothing can be confirmed, because nothing follows from the ledger."""
    told = f"pinkeep cannot confirm what is served: {unknown.why}."
    if unknown.cause == "doubt":
        return joined(told, _RENEW)
    return joined(
        told,
        "If the clock is right now, confirm the clock.",
        command(f"certbot-pinkeep confirm {name} --clock"),
    )


def clock_accepted(name: str, ledger: Ledger, now: datetime) -> str:
    """Tell what follows after the admin says that the clock is right."""
    told = f"pinkeep takes the clock of the keyring {name} to be right."
    unknown = ledger.uncertainty(now)
    if unknown is not None and unknown.end is None:
        return f"{told} pinkeep rolls no key over before its next run: {unknown.why}."
    bound = [one.binds_until(now) for one in ledger.binding(now)]
    until = times.text(max([*bound, (unknown and unknown.end) or now]))
    return (
        f"{told} Pins that a wrong clock ended too early bind again, until {until} at the latest."
    )


def unpinning(state: State, now: datetime, step: str = "certbot renew") -> str:
    """Tell how far a keyring has left pinning, or that it stays pinned.

    :param step: the command that brings the keyring up to date
    """
    name, ledger = state.keyring.name, state.ledger
    if not state.unpin:
        return f"The keyring {name} is pinned."
    if ledger.binds_nobody(now):
        return f"The keyring {name} is unpinned: no client holds its pins, no header is sent."
    sends = f"The keyring {name} sends max-age=0, so that clients forget its pins."
    ends = f"The first '{step}' after that takes the header away. "
    if state.is_without_header:
        sends, ends = f"The keyring {name} is to be unpinned, and no server sends its header.", ""
    stays, unknown = (
        "Until then the key stays pinned, and pinkeep keeps it.",
        ledger.uncertainty(now),
    )
    if unknown is not None and unknown.end is None:
        return f"{sends} pinkeep does not know until when clients hold them: {unknown.why}. {stays}"
    if any(entry.policy.binding and entry.replaced is None for entry in ledger.known):
        return joined(
            f"The keyring {name} is to be unpinned, but the web server may not send max-age=0 yet.",
            "Reload the web server, then confirm that.",
            command(f"certbot-pinkeep confirm {name}"),
        )
    left = dict.fromkeys(str(one.port) for one in ledger.zone if one.replaced is None)
    if left:
        return joined(
            f"{sends} Name servers may still have the records of {', '.join(left)}. So pinkeep does not know "
            f"until when clients hold the pins. {stays}",
            command(f"certbot-pinkeep dns {name}"),
        )
    bound = [one.binds_until(now) for one in ledger.holdings]
    until = times.text(max([*bound, (unknown and unknown.end) or now]))
    return joined(
        f"{sends} Clients that do not come back hold the pins until {until} at the latest. {ends}{stays}",
        carried(name, ledger, now, None),
    )


def when_safe(name: str, safety: Safety) -> str:
    """Tell from when the new key is safe, or what makes that known."""
    mend = _MENDS[safety.cause].format(name=name)
    if safety.cause == "offline":
        return mend
    if safety.since is not None:
        return joined(f"The new key is safe from {times.text(safety.since)}.", mend)
    return joined("pinkeep does not know yet from when the new key is safe.", mend)


_MENDS: dict[Cause, str] = {
    "": "",
    "none": joined("The next renewal stages a backup key.", _RENEW),
    "offline": joined("Import that key.", command("certbot-pinkeep backup {name} add --key FILE")),
    "unseen": joined(
        "If clients hold no earlier pins, end that record.",
        command("certbot-pinkeep release {name} end --channel header --label not-seen"),
    ),
    "doubt": joined("The next renewal tells more.", _RENEW),
    "clock": joined(
        "If the clock is right now, confirm the clock.",
        command("certbot-pinkeep confirm {name} --clock"),
    ),
    "pending": joined(
        "Have the web server load the current pins.",
        _RENEW,
        "If you reload the web server yourself, reload it, then confirm that.",
        command("certbot-pinkeep confirm {name}"),
    ),
    "zone": joined(
        "pinkeep looks at each name server and port, and says what is missing there.",
        command("certbot-pinkeep dns {name}"),
    ),
    "transferred": joined(
        "After the web server sends the header of {name} there, confirm that.",
        command("certbot-pinkeep confirm {name}"),
    ),
}
