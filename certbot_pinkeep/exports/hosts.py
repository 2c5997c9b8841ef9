"""The hosts of an export, as the consumers that name hosts take them. Pure.

The rules:

* An export has no name that the keyring does not pin: a name of one of its certificates, or one below
  such a name where the policy has includeSubDomains. A wildcard is pinned where every host is for
  which it stands. That goes for every form, also for those that other packages add.
* Apps and DNS pin names, not addresses; what is neither is in no export.
* Where a consumer has no wildcards, ``*.example.com`` is what it calls example.com with its
  subdomains. That says more where example.com is not pinned itself, so it is refused then; and where
  it means subdomains of any depth, unless the policy has includeSubDomains.
* What an app or a zone carries for long must not contain a key that is compromised, nor pins that
  are about to be given up.
* What is used elsewhere has to accept the key that is served now: it is refused while that may be one
  that is not among the pins.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address
from typing import Literal

from certbot_pinkeep.core import hostnames, text
from certbot_pinkeep.core.errors import BadExport
from certbot_pinkeep.exports.values import Pinned

#: How deep a consumer goes where it is told to pin subdomains: one label, or any number of them.
Depth = Literal["one", "any"]


def chosen(pinned: Pinned, written: Iterable[str]) -> Pinned:
    """What is pinned, at these names only.

    :param written: as the admin writes them; empty: at all of them
    :raises BadExport: when one of them is not pinned
    """
    names = tuple(dict.fromkeys(_pinned_name(pinned, one) for one in written))
    return replace(pinned, hosts=names) if names else pinned


def _pinned_name(pinned: Pinned, written: str) -> str:
    host = hostnames.host(written)
    if host is None:
        raise BadExport(
            f"--host {written!r}: that is not the name of a host. Write it in letters, digits and '-', one "
            "with other letters in its form xn--…. Nothing was written."
        )
    subdomains = pinned.policy.include_subdomains
    if not any(hostnames.holds(one, host, subdomains=subdomains) for one in pinned.hosts):
        below = [one for one in pinned.hosts if hostnames.covers(one, host, subdomains=subdomains)]
        why = (
            f"the keyring {pinned.name} does not pin every host that it stands for, only {', '.join(below)}"
            if below
            else f"the keyring {pinned.name} does not pin it"
        )
        raise BadExport(
            f"--host {written!r}: {why}. Its hosts: {', '.join(pinned.hosts)}. Nothing was written."
        )
    return host


def check_served(pinned: Pinned) -> None:
    """See that the key that is served now is among the pins.

    :raises BadExport: when it may not be
    """
    if pinned.still_served:
        raise BadExport(
            f"Apache may serve a key that is not among the pins of the keyring {pinned.name} that were "
            f"published last ({', '.join(pinned.still_served)}): what holds to them would be locked out. See "
            "that it serves what is pinned ('certbot renew' reloads it, or says what to do; where you reload "
            f"it yourself, run: certbot-pinkeep confirm {pinned.name}), and export again. Nothing was "
            "written."
        )


def check_sound(pinned: Pinned, consumer: str) -> None:
    """See that the key that is served is among the pins, and none that others know.

    :param consumer: as it begins a sentence
    :raises BadExport: when it is not so
    """
    check_served(pinned)
    for one in pinned.pins:
        if one.role == "compromised":
            raise BadExport(
                f"{consumer} is not to pin a compromised key ({one.pin}). Leave it first: "
                f"certbot-pinkeep rollover {pinned.name} --now. Nothing was written."
            )


def check_kept(pinned: Pinned, consumer: str) -> None:
    """See that what is pinned is sound, and worth keeping.

    :param consumer: as it begins a sentence
    :raises BadExport: when it is not
    """
    check_sound(pinned, consumer)
    if pinned.leaving:
        raise BadExport(
            f"{consumer} is not to begin with pins that are being given up: the keyring {pinned.name} "
            "leaves pinning. To stay pinned, run: certbot-pinkeep unpin "
            f"{pinned.name} --undo. Nothing was written."
        )


def check_names(pinned: Pinned) -> None:
    """See that each host is one: what else a certificate names would be read as something else.

    :raises BadExport: when one is not
    """
    for host in pinned.hosts:
        if hostnames.host(host) != host:
            raise BadExport(
                f"{text.short(host)!r} is not the name of a host. Name those to pin with --host. Nothing "
                "was written."
            )


def named(pinned: Pinned, consumer: str) -> tuple[str, ...]:
    """The hosts, which must be names.

    :raises BadExport: when one is an address, or there is none
    """
    if not pinned.hosts:
        raise BadExport(
            f"{consumer} pins names, and the keyring {pinned.name} has no host. Nothing was written."
        )
    check_names(pinned)
    for host in pinned.hosts:
        if _is_address(host):
            raise BadExport(
                f"{consumer} pins names only, not {host}. Name those to pin with --host. Nothing was "
                "written."
            )
    return pinned.hosts


def with_subdomains(pinned: Pinned, consumer: str, depth: Depth) -> dict[str, bool]:
    """The domains, and whether their subdomains are pinned with them.

    :param depth: of the subdomains that the consumer pins then
    :raises BadExport: when that cannot be said
    """
    found: dict[str, bool] = {}
    listed = named(pinned, consumer)
    whole = pinned.policy.include_subdomains
    for host in listed:
        domain = host.removeprefix("*.")
        if domain != host and domain not in listed:
            raise BadExport(
                f"{consumer} has no wildcards, and to pin {domain} with its subdomains says more than "
                f"{host}: {domain} itself is not among the hosts of this export. Name the hosts to pin "
                "with --host. Nothing was written."
            )
        if domain != host and depth == "any" and not whole:
            raise BadExport(
                f"{consumer} has no wildcards, and to pin {domain} with its subdomains says more than "
                f"{host}: those below the ones that it stands for may have keys that are not pinned. Leave "
                "it out: name the hosts to pin with --host. Or have all subdomains pinned, with "
                "--pinkeep-include-subdomains. Nothing was written."
            )
        found[domain] = found.get(domain, False) or whole or domain != host
    return found


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
