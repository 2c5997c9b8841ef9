"""Zones of a PowerDNS Authoritative Server, through its HTTP API.

The rules:

* The API makes all changes of a call, or none, but takes no prerequisite. So the records are read again right
  before a change, and right after it: if somebody else changes them meanwhile, that is told.
* No name gets its first records if a host above it has its addresses from a wildcard: it would lose them. No
  name loses its last ones if a wildcard's would take their place.
* A record that is disabled is not served. Such a record does not count, and stays.
* The key is sent to the address that the admin gave, and to no other: a redirect is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from zope.interface import implementer

from certbot_pinkeep.carriers.zones import IZone
from certbot_pinkeep.core import dns_names, text
from certbot_pinkeep.core.errors import BadCredentials, ZoneRefused
from certbot_pinkeep.core.tlsa import TlsaRecord
from certbot_pinkeep.core.zone_observations import Change, Records

#: Records by name and type, as the API has them.
Sets = dict[tuple[str, str], Sequence[Mapping[str, Any]]]
#: Seconds for each question.
_SECONDS = 10.0
_SERVER = "localhost"


@implementer(IZone)
class PowerDns:
    """A server with its API switched on.

    :raises BadCredentials: if an option is missing or cannot be used
    """

    def __init__(self, options: Mapping[str, str]) -> None:
        url = options.get("api_url", "")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise BadCredentials(
                "dns_powerdns_api_url has to be an address such as http://127.0.0.1:8081."
            )
        key = options.get("api_key", "")
        if not key or not (key.isascii() and key.isprintable()):
            raise BadCredentials("dns_powerdns_api_key is missing, or no text in ASCII.")
        self._place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        server = quote(options.get("server_id", _SERVER), safe="")
        base = url.rstrip("/").removesuffix("/api/v1")
        self._zones = f"{base}/api/v1/servers/{server}/zones/"
        self._key = key

    def read(self, zone: str, names: Sequence[str]) -> dict[str, Records]:
        """Ask for all records of the zone, and return those at the names."""
        found = self._found(zone)
        return {name: _served(_tlsa(found, name)) for name in names}

    def change(self, zone: str, changes: Sequence[Change]) -> None:
        """Make all changes in one call."""
        before = self._found(zone)
        for one in changes:
            if why := _taken(one, zone, before):
                raise self._refused(zone, why)
            if _served(_tlsa(before, one.name)) != one.before:
                why = "are not the ones that were read: somebody else changed them meanwhile"
                raise self._refused(zone, f"the records at {one.name} {why}")
        sets = [_rrset(one, _tlsa(before, one.name)) for one in changes]
        self._call("PATCH", zone, {"rrsets": sets})
        now = self.read(zone, [one.name for one in changes])
        for one in changes:
            if now[one.name] != one.after:
                why = "are not the ones that were written: somebody else changed them at the same time"
                raise self._refused(zone, f"the records at {one.name} {why}")

    def _found(self, zone: str) -> Sets:
        """Return all records of a zone, by name and type, disabled ones as well."""
        told = self._call("GET", zone)
        try:
            return {
                (str(one["name"]).lower(), str(one["type"])): list(one["records"])
                for one in told["rrsets"]
            }
        except (KeyError, TypeError) as error:
            raise self._refused(zone, "its answer is not that of PowerDNS") from error

    def _call(self, method: str, zone: str, body: Any = None) -> Any:
        import requests

        try:
            session = requests.Session()
            session.trust_env = False  # no proxy, and no netrc, is given the key
            answer = session.request(
                method,
                self._zones + quote(zone, safe=""),
                json=body,
                headers={"X-API-Key": self._key},
                timeout=_SECONDS,
                allow_redirects=False,
            )
            if answer.status_code not in (200, 204):
                raise self._refused(zone, _why(answer))
            return answer.json() if answer.content else None
        except (
            requests.RequestException
        ) as error:  # its text may have the address, and a password in it
            why = f"it does not answer as an HTTP server does ({type(error).__name__})"
            raise self._refused(zone, why) from None

    def _refused(self, zone: str, why: str) -> ZoneRefused:
        return ZoneRefused(
            f"The PowerDNS server at {self._place} could not be used for the zone {zone}:",
            f"{why}.",
        )


def _tlsa(sets: Sets, name: str) -> Sequence[Mapping[str, Any]]:
    return sets.get((name.lower(), "TLSA"), ())


def _taken(change: Change, zone: str, sets: Sets) -> str:
    """Return what a change would take from a name by way of a wildcard, as a part of a sentence."""
    kinds: dict[str, set[str]] = {}
    for (name, kind), records in sets.items():
        if any(not one.get("disabled") for one in records):
            kinds.setdefault(name, set()).add(kind)
    own, zone = change.name.lower(), zone.lower()
    if not change.before:
        for host in dns_names.hosts_above(own, zone):
            wildcard = dns_names.wildcard_of(host, zone, kinds)
            if wildcard and kinds[wildcard] & {"A", "AAAA", "CNAME", "LUA", "ALIAS"}:
                return (
                    f"a host ({host}) has its addresses from a wildcard, and would lose them; "
                    "enter its own addresses first"
                )
    if not change.after:
        others = {name for name in kinds if name != own or kinds[name] != {"TLSA"}}
        wildcard = dns_names.wildcard_of(own, zone, others)
        if wildcard and "TLSA" in kinds[wildcard]:
            return (
                f"at {change.name} the TLSA records of the wildcard {wildcard} would take their place; "
                "delete the wildcard's first"
            )
    return ""


def _why(answer: Any) -> str:
    if answer.status_code == 401:
        return "it does not know this API key"
    if answer.status_code == 404:
        return "it does not have this zone"
    try:
        told = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        told = answer.reason
    return f"it answered {answer.status_code} ({text.short(str(told))})"


def _served(records: Sequence[Mapping[str, Any]]) -> Records:
    return frozenset(_record(str(one["content"])) for one in records if not one.get("disabled"))


def _record(content: str) -> TlsaRecord:
    usage, selector, matching, *data = content.split()
    return TlsaRecord(int(usage), int(selector), int(matching), "".join(data).lower())


def _rrset(change: Change, before: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the change to one set of records, as the API takes it."""
    records = [{"content": str(one), "disabled": False} for one in sorted(change.after)]
    records += [dict(one) for one in before if one.get("disabled")]
    head = {"name": change.name, "type": "TLSA"}
    if not records:
        return {**head, "changetype": "DELETE"}
    return {**head, "changetype": "REPLACE", "ttl": change.ttl, "records": records}
