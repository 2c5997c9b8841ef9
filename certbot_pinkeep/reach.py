"""At which names a policy binds that was noted at a host. Pure.

The rules:

* A policy binds at the host where it was noted; with includeSubDomains, at every name below it as
  well (RFC 7469 §2.1.3, §2.6).
* A name of a certificate that begins with ``*.`` stands for every host one label below the rest.
"""

from __future__ import annotations

from collections.abc import Iterable


def covers(host: str, name: str, subdomains: bool) -> bool:
    """Whether a policy that is served at *host* binds at *name*, or at a host that *name* stands
    for.

    :param host: a name of a certificate, in lower case; so is *name*
    :param subdomains: whether the policy has includeSubDomains
    """
    if host == name or _stands_for(host, name) or _stands_for(name, host):
        return True
    domain = host.removeprefix("*.")
    below = name.removesuffix(f".{domain}") if name.endswith(f".{domain}") else ""
    # Below "*.example.com" are the names with one label more than the hosts that it stands for.
    return subdomains and bool(below) and (host == domain or "." in below)


def covered(hosts: Iterable[str], names: Iterable[str], subdomains: bool) -> list[str]:
    """Those of the names at which a policy binds that is served at the hosts."""
    served = tuple(hosts)
    return [name for name in names if any(covers(host, name, subdomains) for host in served)]


def _stands_for(wildcard: str, name: str) -> bool:
    return wildcard.startswith("*.") and name.partition(".")[2] == wildcard[2:]
