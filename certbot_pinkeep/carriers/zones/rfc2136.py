"""Zones whose name server takes dynamic updates (RFC 2136), signed with a TSIG key (RFC 8945).

The rules:

* The options are those of certbot-dns-rfc2136, with the same meaning and the same defaults.
* All changes to a zone are one update. Its prerequisite is each set of records, exactly as it was read: the
  name server makes the change only if nobody else changed one of them meanwhile (RFC 2136 §2.4).
* Records that a wildcard stands for are not at the name itself. If an update fails for that, the prerequisite
  is the wildcard's records, and that the name has none: the new records then take the wildcard's place there.
* No name gets its first records if a host above it has its addresses from a wildcard: it would lose them. No
  name loses its last ones if a wildcard's would take their place.
* Records are read and written at the same name server, which has to be authoritative for the zone.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Mapping, Sequence

from zope.interface import implementer

from certbot_pinkeep.carriers.zones import IZone
from certbot_pinkeep.core import dns_names
from certbot_pinkeep.core.errors import BadCredentials, NoDnspython, ZoneRefused
from certbot_pinkeep.core.tlsa import TlsaRecord
from certbot_pinkeep.core.zone_observations import Change, Records

try:
    import dns.exception
    import dns.flags
    import dns.message
    import dns.name
    import dns.query
    import dns.rcode
    import dns.rdataclass
    import dns.rdatatype
    import dns.tsig
    import dns.update
    from dns.message import Message
except ImportError as error:
    raise NoDnspython from error

#: Seconds for each question.
_SECONDS = 10.0
_PORT = 53
_ALGORITHMS = {
    "HMAC-MD5": "hmac-md5.sig-alg.reg.int.",
    "HMAC-SHA1": "hmac-sha1.",
    "HMAC-SHA224": "hmac-sha224.",
    "HMAC-SHA256": "hmac-sha256.",
    "HMAC-SHA384": "hmac-sha384.",
    "HMAC-SHA512": "hmac-sha512.",
}
#: What the codes of answers mean here (RFC 2136 §2.2.5, RFC 8945 §5.3.2).
_CODES = {
    "NXRRSET": "the records are not the ones that were read: somebody else changed them meanwhile",
    "YXRRSET": "there are records where there were none: somebody else added them meanwhile",
    "REFUSED": "it refuses: it does not do this for this machine, or for this TSIG key",
    "NOTAUTH": "it does not take changes to this zone, or not with this TSIG key",
    "NOTZONE": "the name is not in this zone",
    "NOTIMP": "it takes no dynamic updates",
    "YXDOMAIN": "there are records where there were none: somebody else added them meanwhile",
}
_ODD = "its answer cannot be read"


@implementer(IZone)
class Rfc2136:
    """A name server that takes updates.

    :raises BadCredentials: if an option is missing or cannot be used
    """

    def __init__(self, options: Mapping[str, str]) -> None:
        self._server = _address(options)
        self._port = _port(options.get("port", str(_PORT)))
        self._name = options["name"].rstrip(".") + "." if options.get("name") else _missing("name")
        self._secret = _secret(options)
        self._algorithm = _algorithm(options.get("algorithm", "HMAC-MD5"))
        self._signs_questions = options.get("sign_query", "").lower() == "true"

    def read(self, zone: str, names: Sequence[str]) -> dict[str, Records]:
        """Ask for the records at each of the names."""
        return {name: self._records(zone, name) for name in names}

    def change(self, zone: str, changes: Sequence[Change]) -> None:
        """Send all changes as one update."""
        for one in changes:
            self._check_wildcards(zone, one)
        rcode = self._sent(self._update(zone, changes), zone)
        synthesised: dict[str, str] = {}
        if rcode == "NXRRSET" and (synthesised := self._synthesised(zone, changes)):
            rcode = self._sent(self._update(zone, changes, synthesised), zone)
        if rcode != "NOERROR":
            raise self._refused(zone, _why(rcode, zone, changes))

    def _update(
        self, zone: str, changes: Sequence[Change], synthesised: Mapping[str, str] | None = None
    ) -> Message:
        """Return an update that makes the changes.

        :param synthesised: the wildcard that a name has its records from
        """
        update = dns.update.UpdateMessage(zone, keyring=self._key())
        for one in changes:
            wildcard = (synthesised or {}).get(one.name)
            if one.before:
                update.present(wildcard or one.name, "TLSA", *map(str, sorted(one.before)))
            if wildcard:
                update.absent(one.name)
            elif not one.before:
                update.absent(one.name, "TLSA")
            if wildcard or not one.before:
                for host in dns_names.hosts_above(one.name, zone):
                    if self._has_addresses(zone, host):
                        update.present(host)
            update.delete(one.name, "TLSA")
            if one.after:
                update.add(one.name, one.ttl, "TLSA", *map(str, sorted(one.after)))
        return update

    def _check_wildcards(self, zone: str, change: Change) -> None:
        """Check that no wildcard takes the place of the last records at a name.

        :raises ZoneRefused: if one does
        """
        if change.after:
            return
        for wildcard in dns_names.wildcards_below_host(change.name, zone):
            if self._records(zone, wildcard):
                why = f"at {change.name} the TLSA records of the wildcard {wildcard} would take their place"
                raise self._refused(zone, why, "Delete the wildcard's first.")

    def _synthesised(self, zone: str, changes: Sequence[Change]) -> dict[str, str]:
        """Return the names that have their records from a wildcard, and which one that is."""
        found: dict[str, str] = {}
        for one in changes:
            if not one.before:
                continue
            asked = dns.update.UpdateMessage(zone, keyring=self._key())
            asked.absent(one.name)
            if self._sent(asked, zone) != "NOERROR":
                continue
            for wildcard in dns_names.wildcards(one.name, zone):
                if self._records(zone, wildcard) == one.before:
                    found[one.name] = wildcard
                    break
        return found

    def _has_addresses(self, zone: str, host: str) -> bool:
        return any(self._asked(zone, host, kind).answer for kind in ("A", "AAAA"))

    def _asked(self, zone: str, name: str, kind: str) -> Message:
        """Ask the name server, and return its answer.

        :raises ZoneRefused: if it gives none
        """
        query = dns.message.make_query(name, kind, flags=0)
        if self._signs_questions:
            query.use_tsig(self._key())
        answer = self._exchanged(query, zone)
        code = dns.rcode.to_text(answer.rcode())
        if code not in ("NOERROR", "NXDOMAIN"):
            raise self._refused(zone, _why(code))
        if not answer.flags & dns.flags.AA:
            raise self._refused(zone, "it is not authoritative for this zone")
        return answer

    def _records(self, zone: str, name: str) -> Records:
        answer, owner = self._asked(zone, name, "TLSA"), dns.name.from_text(name)
        found = answer.get_rrset(answer.answer, owner, dns.rdataclass.IN, dns.rdatatype.TLSA)
        return frozenset(
            TlsaRecord(one.usage, one.selector, one.mtype, one.cert.hex()) for one in found or ()
        )

    def _key(self) -> dict[object, object]:
        name = dns.name.from_text(self._name)
        return {name: dns.tsig.Key(name, self._secret, _ALGORITHMS[self._algorithm])}

    def _sent(self, update: Message, zone: str) -> str:
        """Send an update, and return the answer's code.

        :raises ZoneRefused: if there is no answer
        """
        return dns.rcode.to_text(self._exchanged(update, zone).rcode())

    def _exchanged(self, message: Message, zone: str) -> Message:
        """Send a message, and return the answer.

        :raises ZoneRefused: if there is none that counts
        """
        try:
            answer = dns.query.tcp(message, self._server, _SECONDS, self._port)
        except (dns.tsig.PeerBadKey, dns.tsig.PeerBadSignature) as error:
            why = f"it does not know this TSIG key, or the secret or algorithm is wrong ({self._name})"
            todo = "Correct these lines of the credentials file."
            raise self._refused(zone, why, todo) from error
        except dns.tsig.PeerBadTime as error:
            raise self._refused(zone, "its clock and the clock of this machine differ") from error
        except (
            dns.exception.FormError
        ) as error:  # from dnspython 2.7 on; an older one gives the code
            why = f"its answer is not signed: {_CODES['NOTAUTH']}" if message.keyring else _ODD
            raise self._refused(zone, why) from error
        except dns.exception.Timeout as error:
            why = f"it did not answer within {_SECONDS:g} seconds"
            raise self._refused(zone, why) from error
        except OSError as error:
            raise self._refused(zone, error.strerror or type(error).__name__) from error
        except Exception as error:  # whatever the library makes of an answer that is none
            raise self._refused(zone, _ODD) from error
        if answer.rcode() in (dns.rcode.REFUSED, dns.rcode.NOTAUTH, dns.rcode.NOTIMP):
            raise self._refused(zone, _why(dns.rcode.to_text(answer.rcode())))
        if message.keyring and not answer.had_tsig:
            raise self._refused(zone, "its answer is not signed with the TSIG key")
        return answer

    def _refused(self, zone: str, why: str, todo: str = "") -> ZoneRefused:
        return ZoneRefused(
            f"The name server {self._server} could not be used for the zone {zone}:",
            f"{why}. {todo}".strip(),
        )


def _why(code: str, zone: str = "", changes: Sequence[Change] = ()) -> str:
    """Say what the code of an answer means.

    :param changes: those that were asked for
    """
    if code == "NXDOMAIN":
        hosts = dict.fromkeys(
            host for one in changes for host in dns_names.hosts_above(one.name, zone)
        )
        return (
            f"a host ({', '.join(hosts)}) has its addresses from a wildcard, and would lose them; "
            "enter its own addresses first"
        )
    return _CODES.get(code, f"it answered {code}")


def _missing(option: str) -> str:
    raise BadCredentials(f"dns_rfc2136_{option} is missing.")


def _wrong(option: str, why: str) -> BadCredentials:
    return BadCredentials(f"dns_rfc2136_{option} cannot be used: {why}.")


def _address(options: Mapping[str, str]) -> str:
    try:
        return str(ipaddress.ip_address(options.get("server") or _missing("server")))
    except ValueError as error:
        raise _wrong("server", "it has to be an IP address") from error


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise _wrong("port", "it has to be a number from 1 to 65535")
    return int(text)


def _secret(options: Mapping[str, str]) -> bytes:
    try:
        return base64.b64decode(options.get("secret") or _missing("secret"), validate=True)
    except (binascii.Error, ValueError):
        raise _wrong("secret", "it has to be base64") from None  # its text may be in the cause


def _algorithm(text: str) -> str:
    if text.upper() not in _ALGORITHMS:
        raise _wrong("algorithm", f"it has to be one of {', '.join(_ALGORITHMS)}")
    return text.upper()
