"""What admins are told about a rollover: why, from when, who is locked out, what to run. Pure.

The rules:

* A refusal names the earliest safe time, or says why it is unknown and what makes it known.
* Who is locked out is told policy by policy: since when it was served, and until when clients hold
  it. What is not known is said to be unknown.
* Pins are public, private keys never occur here (G7).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime

from certbot_pinkeep.core import rollover, times
from certbot_pinkeep.core.errors import BadOption, NoKeyringName
from certbot_pinkeep.core.keyring import Key, Keyring
from certbot_pinkeep.core.ledger import Holding, Ledger, Release
from certbot_pinkeep.core.options import SWITCHES
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.core.rollover import Cause, Decision, Safety

NOBODY = "It locks nobody out."
_REASONS = {
    "age": "it has reached --pinkeep-rollover-days",
    "asked": "you asked for it",
    "revoked": "its certificate was revoked",
    "compromised": "it is compromised",
    "shared": "it is not the one that the keyring's certificates share",
}


def lost(key: Key) -> str:
    """Said of a backup whose file cannot be used."""
    return (
        f"{key.fault} pinkeep will not use this backup, with the pin {key.pin}, until its file is "
        "restored."
    )


def replaced(name: str, count: int, safety: Safety) -> str:
    """Said when new backups take the places of those whose files cannot be used."""
    new = f"{count} new backup key{'s' if count > 1 else ''}"
    when = when_safe(name, safety)
    if safety.since is not None:
        when = f"A rollover to the first new one is safe from {times.text(safety.since)}."
    return (
        f"pinkeep staged {new} for the keyring {name} in place of those that it cannot use. "
        f"{when} If you restore the old files, the next "
        "'certbot renew' stages the old backup keys again."
    )


def reason(decision: Decision) -> str:
    """Why a rollover is due, as a part of a sentence."""
    return _REASONS[decision.due] if decision.due else "nothing is due"


def rolling(name: str, decision: Decision) -> str:
    """Said when a certificate is about to be issued for a backup."""
    assert decision.key is not None
    return (
        f"The keyring {name} rolls over to the key with the pin {decision.key.pin}: the present "
        f"key is left because {reason(decision)}."
    )


def held(name: str, decision: Decision) -> str:
    """Said when a renewal goes on with the present key though another one is due (G3)."""
    return (
        f"The key of the keyring {name} is to be exchanged because {reason(decision)}, but not "
        f"yet: {decision.safety.why}. {when_safe(name, decision.safety)} This renewal keeps the key; the "
        "first renewal from then on exchanges it."
    )


def not_yet_issued(name: str, decision: Decision) -> str:
    """Said when a new certificate would lock clients out that hold pins for its names (G2)."""
    return (
        f"No certificate was issued for the key of the keyring {name}: {decision.safety.why}. "
        f"{when_safe(name, decision.safety)} Ask for it again then."
    )


def not_added(
    keyring: Keyring, ledger: Ledger, lineage: str, added: tuple[str, ...], pin: str, now: datetime
) -> str:
    """Said when a certificate is to have names at which its key locks clients out (G2).

    :param pin: of the key that it would be issued for
    """
    name, names, key = keyring.name, ", ".join(added), keyring.key(pin)
    victims = "; ".join(_victims(one, now) for one in rollover.locked_out(pin, ledger, now, added))
    when = f" {when_safe(name, rollover.safety(key, ledger, now, added))}" if key else ""
    # A new one is issued for the primary, which is refused there for the same reason.
    own = (
        f" Or ask for a certificate of its own for {names}: certbot certonly --installer pinkeep "
        f"--pinkeep-keyring {name} -d {' -d '.join(added)}"
        if key is None or key.role != "primary"
        else ""
    )
    return (
        f"No certificate was issued for {lineage} with {names} as well: that locks out {victims}, because "
        f"the key of the new certificate, with the pin {pin}, is not among those of the keyring {name} "
        f"that they hold there.{when} The present certificate stays, and is renewed without {names}; ask "
        f"for it with {names} again then.{own}"
    )


def staged(name: str, safety: Safety) -> str:
    """Said when the first keys of a type are pinned in advance."""
    known = "" if safety.since is None else " Ask for it again then."
    why = f": {safety.why}" if safety.why else ""
    return f"Such keys are pinned in advance from now on{why}. {when_safe(name, safety)}{known}"


def carried(name: str, ledger: Ledger, now: datetime, hosts: tuple[str, ...] | None) -> str:
    """Which releases hold pins at the hosts, as sentences that begin with a space; empty: none.

    :param hosts: the names; ``None``: any
    """
    bound = [one for one in ledger.releases if one.may_bind(now) and one.binds_at(hosts)]
    return "".join(
        f" {one.subject} carries pins there until "
        f"{times.text(one.binds_until(now))}; once nobody uses it: certbot-pinkeep release {name} end "
        f"--channel {shlex.quote(one.channel)} --label {shlex.quote(one.label)}."
        for one in bound
    )


def recorded(
    name: str, release: Release, refused: Mapping[str, tuple[str, ...]], now: datetime
) -> str:
    """Said when a release is on record: whether a key locks out whoever relies on it (G2).

    :param refused: the keys that do, and the lineages that serve each of them
    """
    what, until = f"{release.channel} {release.label}", times.text(release.binds_until(now))
    if not refused:
        return (
            f"{what} carries {len(release.pins)} pins of the keyring {name}: until {until} no rollover "
            "locks it out."
        )
    told = [f"{what} is on record with {len(release.pins)} pins of the keyring {name}."]
    for pin, lineages in refused.items():
        whose = (
            f"The key of {', '.join(lineages)}, with the pin {pin},"
            if lineages
            else f"The key with the pin {pin}, which a forced rollover goes to,"
        )
        told.append(
            f"{whose} is not among them. That key locks out every client that relies on {what}, until "
            f"{until}."
        )
    if any(not lineages for lineages in refused.values()):
        told.append(
            "To take the forced rollover back before the next renewal, run: certbot-pinkeep rollover "
            f"{name} --undo."
        )
    told.append(
        f"If nobody uses {what} any more, run: certbot-pinkeep release {name} end --channel "
        f"{shlex.quote(release.channel)} --label {shlex.quote(release.label)}"
    )
    return " ".join(told)


def refused(
    keyring: str, lineage: str, pin: str, ledger: Ledger, now: datetime, safety: Safety | None
) -> str:
    """Said when a lineage joins a keyring with a key that its clients do not know yet.

    :param pin: of that key
    :param safety: when it can be renewed for the shared key of its type; ``None``: there was none
    """
    told = (
        f"The present key of {lineage} (pin {pin}) is pinned from now on. Clients that hold earlier pins of "
        f"the keyring {keyring} refuse it until they have noted the new ones."
        f"{carried(keyring, ledger, now, None)}"
    )
    if safety is None or not safety.at(now):
        return told
    return (
        f"{told} They accept the shared key of the keyring. Run: certbot renew --cert-name {lineage} "
        "--force-renewal --installer pinkeep"
    )


def refused_already(keyring: str, lineages: list[str]) -> str:
    """Said of a rollover that locks out nobody who is not locked out by certificates as they are."""
    which = ", ".join(lineages)
    return (
        f"It locks out nobody more. Clients that hold pins of the keyring {keyring} refuse the present key "
        f"of {which} already. Run: certbot renew --cert-name {lineages[0]} --force-renewal --installer "
        "pinkeep"
    )


def drawing_on(
    keyring: str, lineage: str, names: tuple[str, ...] = (), renewed: bool = False
) -> str:
    """Said where a lineage draws on another keyring than its hosts.

    :param names: of a new certificate; none: it is there already
    :param renewed: whether its present key is refused, so that it has to be renewed
    """
    told = f"A host has one keyring. Have {lineage} draw on {keyring}. Run: certbot "
    if names:
        return (
            f"{told}certonly --installer pinkeep --pinkeep-keyring {keyring} --cert-name {lineage} -d "
            f"{' -d '.join(names)}"
        )
    force = " --force-renewal" if renewed else ""
    return (
        f"{told}renew --cert-name {lineage}{force} --installer pinkeep --pinkeep-keyring {keyring}"
    )


def own_certificate(keyring: str, other: str, names: tuple[str, ...]) -> str:
    """Said where a new certificate is to have names that two keyrings pin."""
    return (
        f"The keyring {keyring} pins other names of the certificate, and no key is pinned by both. No "
        f"certificate was issued. Ask for one certificate for each keyring. For {other}, run: certbot "
        f"certonly --installer pinkeep -d {' -d '.join(names)}"
    )


def to_merge(
    keyring: str, other: str, lineage: str, host: str, stays: str | None, both: bool
) -> str:
    """Said where a lineage is to be enrolled whose names two keyrings pin.

    :param stays: a lineage of the other keyring with that host; ``None``: there is none any more
    :param both: whether both keyrings pin its key
    """
    pinned = ", which both keyrings pin" if both else ""
    told = (
        f"The keyring {keyring} pins other names of {lineage}. {lineage} goes on being renewed with its "
        f"present key{pinned}. "
    )
    if stays is None:
        return (
            f"{told}It can be enrolled when no client holds pins of {other} any more. See from when: "
            f"certbot-pinkeep status {other}"
        )
    return (
        f"{told}It can be enrolled when one keyring pins {host} and the others. Move {stays} first, then "
        f"follow what is said there. Run: certbot renew --cert-name {stays} --installer pinkeep "
        f"--pinkeep-keyring {keyring}"
    )


def goes_back(keyring: str, other: str, lineage: str, hosts: tuple[str, ...]) -> str:
    """Said where a certificate goes back to its keyring's key, though another keyring pins hosts of it.

    :param hosts: at which clients that hold the other keyring's pins refuse it
    """
    which = ", ".join(hosts)
    return (
        f"{lineage} goes back to the key of its keyring {keyring}, because clients that hold pins of "
        f"{keyring} refuse its present key. Clients that hold pins of {other} refuse {lineage} at {which}: "
        f"serve {which} with a certificate of {other}."
    )


def back_first(keyring: str, lineage: str) -> str:
    """Said where a lineage has names that two keyrings pin, and its own keyring lacks its key."""
    return (
        f"Clients that hold pins of {keyring} refuse the present key of {lineage}, too. To go back to a key "
        f"of {keyring}, run: certbot renew --cert-name {lineage} --force-renewal --installer pinkeep"
    )


def to_split(lineage: str, hosts: tuple[str, ...], left: tuple[str, ...], stays: str) -> str:
    """Said where a lineage has names of another keyring, whose clients refuse its key.

    :param hosts: at which they refuse it
    :param left: its other names
    :param stays: a lineage of the other keyring that has those hosts
    """
    which = ", ".join(hosts)
    return (
        f"Serve {which} with the certificate {stays}, and take it off {lineage}. Run: certbot certonly "
        f"--installer pinkeep --cert-name {lineage} -d {' -d '.join(left)}"
    )


def promise(
    name: str, decision: Decision, force: bool = False, apart: Mapping[str, str] | None = None
) -> str:
    """Said when a rollover is on record, as what the next renewal is going to do.

    :param apart: the lineages that ``certbot renew`` does not roll over, and what keeps it from that
    """
    told = _promise(name, decision, force, " with pinkeep" if apart else "")
    return " ".join([told, *rolled_by(apart or {})])


def rolled_by(apart: Mapping[str, str]) -> list[str]:
    """Which command rolls over what ``certbot renew`` does not, as sentences."""
    return [
        f"'certbot renew' does not roll {lineage} over, because of '{why}' in its renewal file or in "
        f"cli.ini. Run: certbot renew --cert-name {shlex.quote(lineage)} --force-renewal --installer pinkeep"
        for lineage, why in apart.items()
    ]


def _promise(name: str, decision: Decision, force: bool, which: str) -> str:
    if decision.best is None:
        return f"The keyring {name} rolls over once it has a backup key. Run: certbot renew"
    pin = decision.best.pin
    if decision.rolls_over or force:
        return (
            f"The next renewal{which} rolls the keyring {name} over to the key with the pin {pin}."
        )
    if decision.safety.cause == "offline":
        goes_on = (
            "Until then renewals keep the present key."
            if decision.key
            else "Until then renewals fail."
        )
        return (
            f"The keyring {name} rolls over once its key is brought: {decision.safety.why}. "
            f"{when_safe(name, decision.safety)} {goes_on} {_if_lost(name, decision)}{here(decision)}"
        )
    goes_on = (
        "Until then renewals keep the present key."
        if decision.key is not None
        else "The present key is not handed over again: until then renewals fail. To renew now, and "
        f"lock clients out, run: certbot-pinkeep rollover {name} --now --force"
    )
    return (
        f"The first renewal{which} that is safe rolls the keyring {name} over to the key with the pin "
        f"{pin}: {decision.safety.why}. {when_safe(name, decision.safety)} {goes_on}"
    )


def sent_before(
    name: str, hosts: tuple[str, ...], policy: Policy, offline: list[str], now: datetime
) -> str:
    """Said when a host was seen sending pins that no keyring publishes."""
    told = (
        f"{', '.join(hosts)} already sends a Public-Key-Pins header that pinkeep did not write. Clients "
        f"may hold its pins until {times.text(now + policy.binding)}, so the keyring {name} does not roll "
        "over to a key that is not among them before that. Take the line that sends it out of "
        "the web server's configuration: clients take the first header only (RFC 7469 §2.3.1)."
    )
    for pin in offline:
        told += (
            f" The key with the pin {pin} is not on this machine, so pinkeep keeps its pin as an offline "
            f"backup. If you have its private key, run: certbot-pinkeep backup {name} add --key FILE -- if "
            f"not, run: certbot-pinkeep backup {name} drop {pin}"
        )
    return told


def sent_by_others(name: str, hosts: tuple[str, ...]) -> str:
    """Said when a host sends pins, but serves no key of this machine."""
    return (
        f"{', '.join(hosts)} sends a Public-Key-Pins header, but serves no key of this machine, so "
        f"pinkeep does not believe it. {record_earlier(name)}"
    )


def sent_without_key(name: str, hosts: tuple[str, ...]) -> str:
    """Said when a host sends pins that the served key is not among."""
    return (
        f"{', '.join(hosts)} sends a Public-Key-Pins header without the pin of the key that it serves: "
        "clients ignore it, or it pins a CA. pinkeep does not record it. Take the line that sends it out "
        "of the web server's configuration."
    )


def not_seen(name: str, hosts: Mapping[str, str]) -> str:
    """Said when a host could not be looked at before it was pinned."""
    why = next((f" ({one})" for one in hosts.values() if one), "")
    return f"pinkeep could not see which pins {', '.join(hosts)} sends already{why}. {record_earlier(name)}"


def record_earlier(name: str) -> str:
    """The command that records pins which clients hold."""
    return (
        "If clients hold earlier pins, record these, and the last day on which they bind. Run: "
        f"certbot-pinkeep release {name} add --channel header --label earlier --until DATE --pin PIN "
        "--pin PIN"
    )


def refusal(name: str, decision: Decision) -> str:
    """Said when a rollover that was asked for would lock clients out (G2)."""
    offline = decision.safety.cause == "offline"
    locks_out = "" if decision.best is None or offline else " without locking clients out"
    lost = f" {_if_lost(name, decision)}{here(decision)}" if offline else ""
    return (
        f"The keyring {name} cannot roll over{locks_out}: {decision.safety.why}. "
        f"{when_safe(name, decision.safety)}{lost} Nothing was changed. To have it done by the first "
        f"renewal that is safe, run: certbot-pinkeep rollover {name} --when-safe"
    )


def locked_in(
    name: str,
    decision: Decision,
    ledger: Ledger,
    now: datetime,
    new: bool = False,
    lineage: str = "NAME",
) -> str:
    """Said when a compromised key must not be handed over, and no backup is safe (G3).

    :param lineage: one that draws on the keyring
    :param new: whether it is for a new certificate, where there is none to renew
    """
    best = decision.best
    if best is None:
        return (
            f"The key of the keyring {name} is compromised and is not handed over again, and there "
            "is no backup key that could be. To have one staged, run: certbot install --installer "
            f"pinkeep --cert-name {shlex.quote(lineage)} -- and then, to renew for it: certbot-pinkeep "
            f"rollover {name} --now --force"
        )
    if decision.safety.cause == "offline":
        stays = "Then ask for it again." if new else "The old certificate stays until then."
        here = decision.available
        forced = f" {_forced(name, here, ledger, now, new)}" if here else ""
        return (
            f"The key of the keyring {name} is compromised and is not handed over again, and "
            f"{decision.safety.why}. {when_safe(name, decision.safety)} {_if_lost(name, decision)} "
            f"{stays}{forced}"
        )
    stays = "" if new else "The old certificate stays until then. "
    here = decision.available if best.offline else best
    forced = _forced(name, here, ledger, now, new) if here else _if_lost(name, decision)
    return (
        f"The key of the keyring {name} is compromised and is not handed over again, and no backup "
        f"is safe yet: {decision.safety.why}. {when_safe(name, decision.safety)} {stays}{forced}"
    )


def _forced(name: str, best: Key, ledger: Ledger, now: datetime, new: bool) -> str:
    """Which command forces which backup, and who is locked out until when (G3)."""
    which = f"the least bad backup, the key with the pin {best.pin}"
    force = (
        f"To have a certificate now all the same, with {which}, run: certbot-pinkeep rollover "
        f"{name} --force -- and ask for the certificate again"
        if new
        else f"To renew now all the same, with {which}, run: certbot-pinkeep rollover {name} --now --force"
    )
    return f"{force} -- {announcement(best, ledger, now)}"


def here(decision: Decision) -> str:
    """From when a backup can be used whose private key is here, as a sentence; empty: unknown."""
    backup, since = decision.available, decision.available_since
    if backup is None or since is None:
        return ""
    return f" The backup with the pin {backup.pin} is here, and is not safe before {times.text(since)}."


def _if_lost(name: str, decision: Decision) -> str:
    """The way out where a private key that is asked for cannot be brought."""
    pin = decision.best.pin if decision.best else "PIN"
    return f"Where it is lost for good: 'certbot-pinkeep backup {name} drop {pin}'."


def announcement(
    key: Key, ledger: Ledger, now: datetime, hosts: tuple[str, ...] | None = None
) -> str:
    """Who is locked out, and until when, by switching to *key* at *now*.

    :param hosts: the names at which it is to be served; ``None``: at all that are pinned
    """
    told = [_victims(one, now) for one in rollover.locked_out(key.pin, ledger, now, hosts)]
    if ledger.doubt or ledger.is_ahead_of(now):
        told.append(f"who else is locked out is unknown: {_unknown(ledger, now)}")
    elif ledger.blind_until is not None and ledger.blind_until > now:
        until = times.text(ledger.blind_until)
        told.append(f"who holds pins from before the record was lost, which ends by {until}")
    if not told:
        return NOBODY
    return f"It locks out: {'; '.join(told)}."


def left_behind(keyring: str, origin: str, lineages: list[str]) -> str:
    """Said when a lineage has moved, and pins of its old keyring go on binding at its hosts."""
    return (
        f"The pins of the keyring {origin} go on binding at hosts of {keyring}, by "
        f"{', '.join(lineages)}, which has the same host or covers it with includeSubDomains. "
        f"Nothing was changed. Have it move as well: certbot renew --cert-name {lineages[0]} "
        f"--installer pinkeep --pinkeep-keyring {keyring}"
    )


def deleted(keyring: Keyring, gone: tuple[str, ...], ledger: Ledger, now: datetime) -> str:
    """Said when certificates were deleted that drew on the keyring."""
    name, which = keyring.name, ", ".join(gone)
    if ledger.current is not None and ledger.binds_nobody(now):
        return f"{which} drew on the keyring {name}, whose pins no client holds."
    left = [m.lineage for m in keyring.members if m.enrolled and m.lineage not in gone]
    stays = (
        f"The keyring stays with {', '.join(left)}"
        if left
        else "It was the last one: the keyring, its keys and its backups stay"
    )
    return (
        f"{which} drew on the keyring {name}, and clients still hold its pins: they refuse every "
        f"other key for those names. {stays}. For a new certificate with a pinned key, run: "
        f"{anew(keyring, gone[0])}"
    ) + (
        ("" if left else f" -- or, so that clients forget the pins: certbot-pinkeep unpin {name}.")
        + carried(name, ledger, now, None)
    )


def anew(keyring: Keyring, lineage: str) -> str:
    """The command that makes a deleted certificate of the keyring anew, for a pinned key."""
    member = keyring.member(lineage)
    hosts = member.hosts if member is not None else ()
    names = "".join(f" -d {shlex.quote(host)}" for host in hosts)
    return (
        f"certbot certonly --installer pinkeep --pinkeep-keyring {keyring.name} --cert-name "
        f"{shlex.quote(lineage)}{names}"
    )


def given_anew(lineage: str, error: BadOption) -> str:
    """The command that gives an option anew which has a value that cannot be used."""
    option = error.option.removeprefix("--pinkeep-")
    wanted = f"--pinkeep-no-{option}" if option in SWITCHES else f"--pinkeep-{option} VALUE"
    if isinstance(error, NoKeyringName):
        wanted = f"--pinkeep-keyring {error.better}"
    return f"certbot renew --cert-name {shlex.quote(lineage)} --installer pinkeep {wanted}"


def unconfirmed(name: str, ledger: Ledger, now: datetime) -> str:
    """Said when what is served cannot be confirmed, because nothing follows from the ledger."""
    told = f"What is served cannot be confirmed: {_unknown(ledger, now)}."
    if ledger.doubt:
        return f"{told} Run: certbot renew"
    return f"{told} Where the clock is right now, run: certbot-pinkeep confirm {name} --clock"


def unpinning(
    name: str, unpin: bool, ledger: Ledger, now: datetime, step: str = "certbot renew"
) -> str:
    """Said when a keyring leaves pinning, or stays pinned after all.

    :param step: the command that brings the keyring into step
    """
    if not unpin:
        return f"The keyring {name} is pinned."
    if ledger.binds_nobody(now):
        return f"The keyring {name} is unpinned: no client holds its pins, no header is sent."
    if ledger.doubt or ledger.is_ahead_of(now):
        return (
            f"The keyring {name} sends max-age=0, so that clients forget its pins. Until when they "
            f"hold them is not known: {_unknown(ledger, now)}. Until then the key stays pinned, and "
            "is kept."
        )
    bound = [entry for entry in ledger.known if entry.policy.binding]
    if any(entry.replaced is None for entry in bound):
        return (
            f"The keyring {name} is to be unpinned, but Apache may not send max-age=0 yet. Reload "
            f"it and run: certbot-pinkeep confirm {name}"
        )
    until = max([one.binds_until(now) for one in ledger.holdings], default=now)
    until = max(until, ledger.blind_until or until)
    return (
        f"The keyring {name} sends max-age=0, so that clients forget its pins. Who does not come "
        f"back holds them until {times.text(until)} at the latest; the first '{step}' "
        "after that takes the header away. Until then the key stays pinned, and is kept."
        f"{carried(name, ledger, now, None)}"
    )


def _victims(one: Holding, now: datetime) -> str:
    until = times.text(one.binds_until(now))
    since = times.text(one.recorded)
    if isinstance(one, Release):
        return f"who relies on {one}, until {until}"
    if one.replaced is None:
        return f"who notes the pins that may be served since {since}, until {until} or later"
    ended = times.text(one.replaced)
    return f"who noted the pins served from {since} to {ended}, until {until}"


def _unknown(ledger: Ledger, now: datetime) -> str:
    return ledger.doubt or rollover.clock(ledger, now)


def when_safe(name: str, safety: Safety) -> str:
    """From when it is safe, or what has to be done so that it is known."""
    if safety.cause == "offline":
        return f"Bring it: 'certbot-pinkeep backup {name} add --key FILE'."
    if safety.since is not None:
        mend = _MENDS[safety.cause].format(name=name)
        return f"It is safe from {times.text(safety.since)}.{mend}"
    return f"From when it is safe is not known yet{_MENDS[safety.cause].format(name=name)}."


_MENDS: dict[Cause, str] = {
    "": "",
    "none": ": the next 'certbot renew' stages a backup key",
    "offline": "",
    "unseen": (
        " If clients hold no earlier pins: 'certbot-pinkeep release {name} end --channel header "
        "--label not-seen'."
    ),
    "doubt": ": the next 'certbot renew' tells",
    "clock": "; where the clock is right now, run: certbot-pinkeep confirm {name} --clock",
    "pending": (
        ": see that Apache has loaded the present pins ('certbot renew' reloads it; where you reload "
        "it yourself, run: certbot-pinkeep confirm {name})"
    ),
    "transferred": (
        ": once Apache sends the header of {name} there, run: certbot-pinkeep confirm {name}"
    ),
}
