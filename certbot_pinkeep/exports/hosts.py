"""The hosts of an export, as the consumers that name hosts take them. Pure.

The rules:

* Apps and DNS pin names, not addresses.
* Where a consumer has no wildcards, ``*.example.com`` is what it calls example.com with its
  subdomains. That says more where example.com is not pinned itself, so it is refused then.
* What an app or a zone carries for long must not contain a key that is compromised, nor pins that
  are about to be given up.
"""

from __future__ import annotations

from ipaddress import ip_address

from certbot_pinkeep.errors import BadExport
from certbot_pinkeep.exports import Pinned


def check_kept(pinned: Pinned, consumer: str) -> None:
    """See that what is pinned is worth keeping.

    :raises BadExport: when it is not
    """
    for one in pinned.pins:
        if one.role == "compromised":
            raise BadExport(
                f"{consumer} is not to pin a compromised key ({one.pin}). Leave it first: "
                f"certbot-pinkeep rollover {pinned.name} --now"
            )
    if pinned.policy.max_age == 0:
        raise BadExport(
            f"The keyring {pinned.name} publishes max-age=0: it leaves pinning, so {consumer} is not to "
            f"begin with it. To stay pinned, run: certbot-pinkeep unpin {pinned.name} --undo"
        )


def named(pinned: Pinned, consumer: str) -> tuple[str, ...]:
    """The hosts, which must be names.

    :raises BadExport: when one is an address, or there is none
    """
    if not pinned.hosts:
        raise BadExport(f"The keyring {pinned.name} has no host that {consumer} could pin.")
    for host in pinned.hosts:
        if _is_address(host):
            raise BadExport(
                f"{consumer} pins names only, not {host}. Name those to pin with --host."
            )
    return pinned.hosts


def with_subdomains(pinned: Pinned, consumer: str) -> dict[str, bool]:
    """The domains, and whether their subdomains are pinned with them.

    :raises BadExport: when that cannot be said
    """
    found: dict[str, bool] = {}
    listed = named(pinned, consumer)
    for host in listed:
        domain = host.removeprefix("*.")
        if domain != host and domain not in listed:
            raise BadExport(
                f"{consumer} has no wildcards, and to pin {domain} with its subdomains says more than "
                f"{host}: {domain} itself is not of the keyring {pinned.name}. Name the hosts to pin "
                "with --host."
            )
        whole = pinned.policy.include_subdomains or domain != host
        found[domain] = found.get(domain, False) or whole
    return found


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
