"""Which names are hosts, and at which names a policy binds that was noted at a host. Pure.

The rules:

* A host is a DNS name in the letters, digits and hyphens of RFC 1123 §2.1, or an IP address; ``*.`` may
  stand for its first label. Its last label is not a number. Other scripts are in their form ``xn--…``.
* What else a certificate names is no host: it is not pinned, and not exported. A CSR asks for it.

* A policy binds at the host that sent it; with includeSubDomains, at every name below it as well (RFC 7469
  §2.1.3, §2.6).
* A name of a certificate that begins with ``*.`` stands for every host one label below the rest.
* A policy *covers* such a name if it binds at one of these hosts. A policy *holds* the name if it binds at
  all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DNS_NAME = re.compile(rf"(?:\*\.)?(?:{_LABEL}\.)*(?!\d+\Z){_LABEL}")
_LONGEST = 253


def host(name: str) -> str | None:
    """Return the host that a name names, in lower case and without a dot at its end; ``None``: none."""
    if not name.isascii():
        return None
    found = name.lower().removesuffix(".")
    if len(found) <= _LONGEST and _DNS_NAME.fullmatch(found):
        return found
    try:
        return None if "%" in found else str(ip_address(found))
    except ValueError:
        return None


def is_address(host: str) -> bool:
    """Return whether a host is an IP address: clients do not pin these (RFC 7469 §2.3.3)."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def hosts(names: Iterable[str]) -> tuple[str, ...]:
    """Return the hosts that the names name, in order, each once."""
    return tuple(dict.fromkeys(found for name in names if (found := host(name)) is not None))


def patterns(names: Iterable[str], longest: int) -> list[str]:
    """Return regular expressions that match the hosts, as alternatives of at most so many characters."""
    found: list[str] = []
    for one in sorted(map(_pattern, hosts(names))):
        if found and len(found[-1]) + len(one) < longest:
            found[-1] += f"|{one}"
        else:
            found.append(one)
    return found


def _pattern(host: str) -> str:
    if ":" in host:
        return rf"\[{host}\]"
    name = host.removeprefix("*.").replace(".", r"\.")
    return rf"[^.:]+\.{name}" if host.startswith("*.") else name


def covers(host: str, name: str, *, subdomains: bool) -> bool:
    """Return whether a policy that is served at *host* binds at *name*, or at a host that *name* stands
    for.

    :param host: a name of a certificate, in lower case; so is *name*
    :param subdomains: whether the policy has includeSubDomains
    """
    return _stands_for(name, host) or holds(host, name, subdomains=subdomains)


def holds(host: str, name: str, *, subdomains: bool) -> bool:
    """Return whether a policy that is served at *host* binds at *name*, at every host that it stands for.

    :param host: as for :func:`covers`, and the rest, too
    """
    if host == name or _stands_for(host, name):
        return True
    domain = host.removeprefix("*.")
    below = name.removesuffix(f".{domain}") if name.endswith(f".{domain}") else ""
    # Below "*.example.com" are the names with one label more than the hosts that it stands for.
    return subdomains and bool(below) and (host == domain or "." in below)


def covered(hosts: Iterable[str], names: Iterable[str], *, subdomains: bool) -> list[str]:
    """Return those of the names at which a policy binds that is served at the hosts."""
    served = tuple(hosts)
    return [
        name for name in names if any(covers(host, name, subdomains=subdomains) for host in served)
    ]


def _stands_for(wildcard: str, name: str) -> bool:
    return wildcard.startswith("*.") and name.partition(".")[2] == wildcard[2:]
