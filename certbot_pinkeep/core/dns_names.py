"""Names in a zone, and which wildcards may stand for them. Pure.

The rules:

* A wildcard such as ``*.example.com.`` stands for each name below ``example.com.``, unless a name on the way
  exists (RFC 4592 §3.3). A name exists if it, or a name below it, has records.
* So a record at a new name takes from the names above it what a wildcard gave them: a host loses its
  addresses if its TLSA records are entered, and it has none of its own.
* Labels that begin with ``_`` name no host: what they lose is nobody's address.
"""

from __future__ import annotations

from collections.abc import Collection


def above(name: str, zone: str) -> list[str]:
    """Return the names above a name that are below a zone's own name, the closest first."""
    found = []
    rest = name.partition(".")[2]
    while rest.lower().endswith(f".{zone.lower()}"):
        found.append(rest)
        rest = rest.partition(".")[2]
    return found


def hosts_above(name: str, zone: str) -> list[str]:
    """Return those of the names above a name that may be hosts."""
    return [one for one in above(name, zone) if not one.startswith("_")]


def wildcards(name: str, zone: str) -> list[str]:
    """Return the wildcards that may stand for a name, the closest first."""
    return [f"*.{one}" for one in (*above(name, zone), zone)]


def wildcards_below_host(name: str, zone: str) -> list[str]:
    """Return those of the wildcards that may stand for a name even if the host above it exists."""
    found = above(name, zone)
    under = next((n + 1 for n, one in enumerate(found) if not one.startswith("_")), len(found) + 1)
    return wildcards(name, zone)[:under]


def wildcard_of(name: str, zone: str, names: Collection[str]) -> str:
    """Return the wildcard that stands for a name; empty: it exists, or none does.

    :param names: all names in the zone that have records, in lower case
    """
    for one in (name, *above(name, zone), zone):
        if one in names or any(other.endswith(f".{one}") for other in names):
            return f"*.{one}" if one != name and f"*.{one}" in names else ""
    return ""
