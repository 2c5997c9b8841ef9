"""Tell admins which keyring a host has, which pins it sends already, and what to run. Pure.

The rules:

* A host has one keyring. A message about two of them names both, and the certificate to move.
* Every command is on a line of its own (see ``core.text``).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime

from certbot_pinkeep.core import times
from certbot_pinkeep.core.holdings import Release
from certbot_pinkeep.core.keyring import Keyring
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.core.rollover import Safety
from certbot_pinkeep.core.text import command, domains, joined


def carried(name: str, ledger: Ledger, now: datetime, hosts: tuple[str, ...] | None) -> str:
    """Tell which releases hold pins at the hosts; empty: none.

    :param hosts: the names; ``None``: any
    """
    told = ""
    for one in ledger.releases:
        if one.may_bind(now) and one.binds_at(hosts):
            told = joined(
                told,
                f"Until {times.text(one.binds_until(now))}, {one} carries pins there. If nobody uses that "
                "release any more, end it.",
                ended(name, one),
            )
    return told


def ended(name: str, release: Release) -> str:
    """Write the command that ends a release."""
    channel, label = shlex.quote(release.channel), shlex.quote(release.label)
    return command(f"certbot-pinkeep release {name} end --channel {channel} --label {label}")


def refused(
    keyring: str, lineage: str, pin: str, *, ledger: Ledger, now: datetime, safety: Safety | None
) -> str:
    """Tell that a lineage joins a keyring with a key that clients do not know yet.

    :param pin: of that key
    :param safety: when the lineage can be renewed for the shared key; ``None``: there was none
    """
    told = joined(
        f"pinkeep pins the current key of {lineage} (pin {pin}) from now on. Clients that hold earlier pins "
        f"of the keyring {keyring} refuse that key until they have noted the new pins.",
        carried(keyring, ledger, now, None),
    )
    if safety is None or not safety.at(now):
        return told
    return joined(told, "They accept the shared key of the keyring.", command(renewal(lineage)))


def drawing_on(
    keyring: str, lineage: str, names: tuple[str, ...] = (), *, renewed: bool = False
) -> str:
    """Tell how to move a lineage to the keyring of its hosts.

    :param names: of a new certificate; none: there is a certificate already
    :param renewed: whether clients refuse its current key, so that a renewal is necessary
    """
    verb = "certonly" if names else "renew"
    force = " --force-renewal" if renewed and not names else ""
    return joined(
        f"A host has one keyring. Move {lineage} to {keyring}.",
        command(
            f"certbot {verb} --cert-name {shlex.quote(lineage)}{force} --installer pinkeep "
            f"--pinkeep-keyring {keyring}{domains(names)}"
        ),
    )


def own_certificate(keyring: str, other: str, names: tuple[str, ...]) -> str:
    """Tell that a new certificate has names that two keyrings pin."""
    return joined(
        f"The keyring {keyring} pins other names of the certificate, and no key is pinned by both. No "
        f"certificate was issued. Ask for one certificate for each keyring, first for {other}.",
        command(f"certbot certonly --installer pinkeep{domains(names)}"),
    )


def one_keyring_first(keyring: str, stays: str) -> str:
    """Tell that a new certificate has a name that two keyrings pin, a wildcard.

    :param stays: a lineage of the other keyring
    """
    return joined(
        f"The keyring {keyring} pins it, too, and no key is pinned by both. No certificate was issued. Move "
        f"{stays} to {keyring}. Follow what that command says, and ask again.",
        command(_move(stays, keyring)),
    )


def to_merge(keyring: str, other: str, lineage: str, *, stays: str | None, both: bool) -> str:
    """Tell that a lineage cannot be enrolled, because two keyrings pin its names.

    :param stays: a lineage of the other keyring with such a name; ``None``: there is none any more
    :param both: whether both keyrings pin its key
    """
    pinned = ", which both keyrings pin" if both else ""
    told = (
        f"The keyring {keyring} pins other names of {lineage}. Certbot goes on renewing {lineage} with its "
        f"current key{pinned}."
    )
    return joined(told, _one_keyring("enrol", keyring, other, lineage, stays=stays))


def not_renewed(
    keyring: str, other: str, lineage: str, hosts: tuple[str, ...], *, stays: str | None
) -> str:
    """Tell that a lineage with a compromised key is not renewed, because two keyrings pin its names (G3).

    :param hosts: at which clients that hold the other keyring's pins refuse the new key
    :param stays: as for :func:`to_merge`
    """
    which = ", ".join(hosts)
    return joined(
        f"The key of {lineage} is compromised, and pinkeep never hands it over again. Clients that hold pins "
        f"of {other} refuse the key of {keyring} at {which}. No certificate was issued. The old one stays.",
        _one_keyring("renew", keyring, other, lineage, stays=stays),
    )


def _one_keyring(verb: str, keyring: str, other: str, lineage: str, *, stays: str | None) -> str:
    """Tell when one keyring pins all names of a lineage, and what to do for it."""
    if stays is None:
        return joined(
            f"You can {verb} {lineage} after no client holds pins of {other} any more. See until when:",
            command(f"certbot-pinkeep status {other}"),
        )
    return joined(
        f"You can {verb} {lineage} after one keyring pins all its names. Move {stays} first, then "
        "follow what that command says.",
        command(_move(stays, keyring)),
    )


def goes_back(keyring: str, other: str, lineage: str, hosts: tuple[str, ...]) -> str:
    """Tell that a certificate goes back to its keyring's key, though another keyring pins hosts of it.

    :param hosts: at which clients that hold the other keyring's pins refuse it
    """
    which = ", ".join(hosts)
    return (
        f"{lineage} goes back to the key of its keyring {keyring}: clients that hold pins of "
        f"{keyring} refuse its current key. Clients that hold pins of {other} refuse {lineage} at {which}. "
        f"Serve {which} with a certificate of {other}."
    )


def back_first(keyring: str, lineage: str) -> str:
    """Tell that a lineage has names that two keyrings pin, and its own keyring lacks its key."""
    return joined(
        f"Clients that hold pins of {keyring} refuse the current key of {lineage}, too. Go back to a key of "
        f"{keyring}.",
        command(renewal(lineage)),
    )


def to_split(lineage: str, hosts: tuple[str, ...], left: tuple[str, ...], stays: str) -> str:
    """Tell how to take hosts of another keyring off a lineage.

    :param hosts: at which clients refuse its key
    :param left: its other names
    :param stays: a lineage of the other keyring that has those hosts
    """
    return joined(
        f"Serve {', '.join(hosts)} with the certificate {stays}, and take these names off {lineage}.",
        command(
            f"certbot certonly --installer pinkeep --cert-name {shlex.quote(lineage)}{domains(left)}"
        ),
    )


def left_behind(keyring: str, origin: str, lineages: list[str]) -> str:
    """Tell that pins of the keyring that a lineage left still bind at its hosts."""
    return joined(
        f"The pins of the keyring {origin} still bind at hosts of {keyring}: {', '.join(lineages)} has the "
        "same host, or covers that host with includeSubDomains. Move that certificate, too.",
        command(_move(lineages[0], keyring)),
    )


def deleted(
    keyring: Keyring, gone: tuple[str, ...], ledger: Ledger, now: datetime, *, leaving: bool = False
) -> str:
    """Tell that certificates were deleted that drew on the keyring.

    :param leaving: whether it leaves pinning already
    """
    name, which = keyring.name, ", ".join(gone)
    if ledger.current is not None and ledger.binds_nobody(now):
        return f"{which} drew on the keyring {name}, whose pins no client holds."
    left = [m.lineage for m in keyring.members if m.enrolled and m.lineage not in gone]
    stays = "That was the last certificate. The keyring, its keys and its backups stay."
    unpin = joined(
        "If clients are to forget the pins instead, leave pinning.",
        command(f"certbot-pinkeep unpin {name}"),
    )
    return joined(
        f"{which} drew on the keyring {name}, and clients still hold its pins: they refuse every other key "
        "for those names.",
        f"The keyring stays with {', '.join(left)}." if left else stays,
        "To get a new certificate with a pinned key, run this.",
        command(anew(keyring, gone[0])),
        "" if left or leaving else unpin,
        carried(name, ledger, now, None),
    )


def anew(keyring: Keyring, lineage: str, held: tuple[str, ...] = ()) -> str:
    """Write the command that makes a deleted certificate of the keyring anew, for a pinned key.

    :param held: the hosts, if the certificate has left the keyring
    """
    member = keyring.member(lineage)
    hosts = member.hosts if member is not None else held
    return (
        f"certbot certonly --installer pinkeep --pinkeep-keyring {keyring.name} --cert-name "
        f"{shlex.quote(lineage)}{domains(hosts)}"
    )


def sent_before(
    name: str, hosts: tuple[str, ...], policy: Policy, offline: list[str], now: datetime
) -> str:
    """Tell that a host sends pins that no keyring publishes."""
    until = times.text(now + policy.binding)
    told = (
        f"{', '.join(hosts)} already sends a Public-Key-Pins header that pinkeep did not write. Clients may "
        f"hold its pins until {until}. Until then the keyring {name} rolls over to none but those pins. Take "
        "the line that sends the header out of the web server's configuration: clients take the first header "
        "only (RFC 7469 §2.3.1)."
    )
    for pin in offline:
        told = joined(
            told,
            f"The key with the pin {pin} is not on this machine, so pinkeep keeps the pin as an offline "
            "backup. If you have the private key, import it.",
            command(f"certbot-pinkeep backup {name} add --key FILE"),
            "If you do not have it, drop the pin.",
            command(f"certbot-pinkeep backup {name} drop {pin}"),
        )
    return told


def sent_by_others(name: str, hosts: tuple[str, ...]) -> str:
    """Tell that a host sends pins, but serves no key of this machine."""
    return joined(
        f"{', '.join(hosts)} sends a Public-Key-Pins header, but serves no key of this machine, so pinkeep "
        "does not believe the header.",
        _record_earlier(name),
    )


def sent_without_key(name: str, hosts: tuple[str, ...]) -> str:
    """Tell that a host sends pins that the served key is not among."""
    return (
        f"{', '.join(hosts)} sends a Public-Key-Pins header without the pin of the key that it serves. "
        "Clients ignore the header, or it pins a CA. pinkeep does not record it. Take the line that sends "
        "the header out of the web server's configuration."
    )


def served(hosts: Sequence[str], until: datetime | None) -> str:
    """Tell which hosts send the pins now, and until when clients hold these pins.

    :param until: ``None``: the pins are for reports only
    """
    verb = "sends" if len(hosts) == 1 else "send"
    held = "Clients report, and hold no pins."
    if until is not None:
        held = f"A client that comes now holds them until {times.text(until)}."
    return f"{', '.join(hosts)} {verb} these pins now. {held}"


def not_served(title: str, silent: Sequence[str], unseen: Sequence[str], *, ready: bool) -> str:
    """Tell which hosts do not send the pins, or were not seen, and which command helps.

    :param title: the server
    :param ready: whether the server includes the pins of all keyrings
    """
    told = ""
    if silent:
        told = f"{title} does not send these pins yet for {', '.join(silent)}."
    if unseen:
        told = joined(told, f"pinkeep could not see what {', '.join(unseen)} sends.")
    if ready:
        return joined(told, command("certbot-pinkeep check"))
    return joined(told, f"setup has not prepared {title}.", command("certbot-pinkeep setup"))


def beside(title: str, server: str, lineages: Sequence[str]) -> str:
    """Tell of another server that runs, and may serve the hosts of certificates."""
    names = shlex.join(lineages)
    return joined(
        f"{title} runs on this machine, too. If {title} serves these hosts, have it send the pins.",
        command(f"certbot-pinkeep pin {names} --header {server}"),
    )


def not_seen(name: str, hosts: Mapping[str, str]) -> str:
    """Tell that pinkeep could not connect to a host before pinning it."""
    why = next((f" ({one})" for one in hosts.values() if one), "")
    return joined(
        f"pinkeep could not see which pins {', '.join(hosts)} sends already{why}.",
        _record_earlier(name),
    )


def _record_earlier(name: str) -> str:
    """Tell how to record pins that clients hold already."""
    return joined(
        "If clients hold earlier pins, record them, and the last day on which they bind.",
        command(
            f"certbot-pinkeep release {name} add --channel header --label earlier --until DATE --pin PIN "
            "--pin PIN"
        ),
    )


def renewal(lineage: str) -> str:
    """Write the command that renews a lineage for its keyring's key."""
    return f"certbot renew --cert-name {shlex.quote(lineage)} --force-renewal --installer pinkeep"


def _move(lineage: str, keyring: str) -> str:
    """Write the command that moves a lineage to another keyring."""
    return f"certbot renew --cert-name {shlex.quote(lineage)} --installer pinkeep --pinkeep-keyring {keyring}"
