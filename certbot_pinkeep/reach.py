"""At which names a policy binds that was noted at a host. Pure.

The rules:

* A policy binds at the host where it was noted; with includeSubDomains, at every name below it as
  well (RFC 7469 §2.1.3, §2.6).
* A name of a certificate that begins with ``*.`` stands for every host one label below the rest.
* Where any of these hosts is one too many, a policy *covers* the name: it binds at one of them. Where
  one too few is, it has to *hold* it: it binds at all of them.
"""

from __future__ import annotations

from collections.abc import Iterable


def covers(host: str, name: str, subdomains: bool) -> bool:
    """Whether a policy that is served at *host* binds at *name*, or at a host that *name* stands
    for.

    :param host: a name of a certificate, in lower case; so is *name*
    :param subdomains: whether the policy has includeSubDomains
    """
    return _stands_for(name, host) or holds(host, name, subdomains)


def holds(host: str, name: str, subdomains: bool) -> bool:
    """Whether a policy that is served at *host* binds at *name*, at every host that it stands for.

    :param host: as for :func:`covers`, and the rest, too
    """
    if host == name or _stands_for(host, name):
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
