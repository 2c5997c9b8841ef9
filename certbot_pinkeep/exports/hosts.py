"""Choose the hosts of an export, and check that the consumer can pin them. Pure.

The rules:

* An export has only names that the keyring pins: a name of a certificate, or with includeSubDomains a name
  below. A wildcard counts if the keyring pins every host that the wildcard stands for. These rules hold for
  all formats, also for those of other packages.
* Apps and DNS pin names, and no addresses.
* For a consumer without wildcards, ``*.example.com`` becomes example.com with its subdomains. If
  example.com itself is not pinned, pinkeep refuses the export. So it does if the consumer pins subdomains
  of any depth and the policy has no includeSubDomains.
* Apps and zones keep pins for long. So they get no compromised key, and no pins of a keyring that leaves
  pinning.
* If the key that is served now may not be among the pins, pinkeep refuses the export.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from certbot_pinkeep.core import hostnames
from certbot_pinkeep.core.errors import BadExport
from certbot_pinkeep.exports.values import Pinned

#: How deep a consumer pins subdomains: one label, or any number of labels.
Depth = Literal["one", "any"]


def chosen(pinned: Pinned, written: Iterable[str]) -> Pinned:
    """Return what is pinned at these names only.

    :param written: names as the admin writes them; empty: all names
    :raises BadExport: if a name is not pinned
    """
    names = tuple(dict.fromkeys(_pinned_name(pinned, one) for one in written))
    return replace(pinned, hosts=names) if names else pinned


def _pinned_name(pinned: Pinned, written: str) -> str:
    host = hostnames.host(written)
    if host is None:
        raise BadExport(
            f"--host {written!r}: that is not the name of a host.",
            "Write it in letters, digits and '-'. Write a name with other letters in its form xn--….",
        )
    subdomains = pinned.policy.include_subdomains
    if not any(hostnames.holds(one, host, subdomains=subdomains) for one in pinned.hosts):
        below = [one for one in pinned.hosts if hostnames.covers(one, host, subdomains=subdomains)]
        why = (
            f"the keyring {pinned.name} does not pin every host of this wildcard, only {', '.join(below)}"
            if below
            else f"the keyring {pinned.name} does not pin this host"
        )
        raise BadExport(
            f"--host {written!r}: {why}.", f"The keyring pins: {', '.join(pinned.hosts)}."
        )
    return host


def check_sound(pinned: Pinned, consumer: str) -> None:
    """Check that the key that is served is among the pins, and that no pin is of a compromised key.

    :param consumer: the consumer, as it begins a sentence
    :raises BadExport: if it is not so
    """
    if pinned.still_served:
        raise BadExport(
            f"The web server may serve a key that is not among the pins of the keyring {pinned.name}: "
            f"{', '.join(pinned.still_served)}.",
            "The pins would lock out whatever gets this export. Have the web server serve what is pinned, "
            "and export again. If you reload the web server yourself, reload it, and run certbot-pinkeep "
            f"confirm {pinned.name} in place of the command below.",
            run="certbot renew",
        )
    for one in pinned.pins:
        if one.role == "compromised":
            raise BadExport(
                f"{consumer} must not pin a compromised key: {one.pin}.",
                "Roll over first.",
                run=f"certbot-pinkeep rollover {pinned.name} --now",
            )


def check_kept(pinned: Pinned, consumer: str) -> None:
    """Check that the pins are sound, and that a consumer can keep them for long.

    :param consumer: the consumer, as it begins a sentence
    :raises BadExport: if it is not so
    """
    check_sound(pinned, consumer)
    if pinned.leaving:
        raise BadExport(
            f"{consumer} must not begin with pins of the keyring {pinned.name}, which leaves pinning.",
            "To stay pinned, take that back.",
            run=f"certbot-pinkeep unpin {pinned.name} --undo",
        )


def named(pinned: Pinned, consumer: str) -> tuple[str, ...]:
    """Return the hosts, which must be names.

    :raises BadExport: if a host is an address, or there is none
    """
    if not pinned.hosts:
        raise BadExport(f"{consumer} pins names, and the keyring {pinned.name} has no host.")
    for host in pinned.hosts:
        if hostnames.is_address(host):
            raise BadExport(
                f"{consumer} pins names only, not {host}.", "Name the hosts to pin with --host."
            )
    return pinned.hosts


def with_subdomains(pinned: Pinned, consumer: str, depth: Depth) -> dict[str, bool]:
    """Return the domains, and whether the consumer pins their subdomains with them.

    :param depth: how deep the consumer pins subdomains
    :raises BadExport: if the consumer cannot express that
    """
    found: dict[str, bool] = {}
    listed = named(pinned, consumer)
    whole = pinned.policy.include_subdomains
    for host in listed:
        domain = host.removeprefix("*.")
        if domain != host and domain not in listed:
            raise BadExport(
                f"{consumer} has no wildcards: for {host} it would pin {domain} with its subdomains.",
                f"{domain} itself is not among the hosts of this export. Name the hosts to pin with --host.",
            )
        if domain != host and depth == "any" and not whole:
            raise BadExport(
                f"{consumer} has no wildcards: for {host} it would pin {domain} with all its subdomains.",
                f"Subdomains further below may have keys that are not pinned. Leave {host} out: name the "
                "hosts to pin with --host. Or pin all subdomains with --pinkeep-include-subdomains.",
            )
        found[domain] = found.get(domain, False) or whole or domain != host
    return found
