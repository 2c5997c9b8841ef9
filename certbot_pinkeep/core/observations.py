"""Hold what a check has seen of one keyring: values only. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from certbot_pinkeep.core import hostnames
from certbot_pinkeep.core.errors import BadOption
from certbot_pinkeep.core.key_and_csr import CsrRequest
from certbot_pinkeep.core.keyring import Keyring
from certbot_pinkeep.core.kinds import KeyType
from certbot_pinkeep.core.options import Options
from certbot_pinkeep.core.server_config import ServerConfig
from certbot_pinkeep.core.state import State

#: What a name that begins with ``*.`` is looked at as: one label below.
PROBE_LABEL = "pinkeep-check"
#: How far a look at a host got: to its end, no connection, no TLS in time, no TLS, no certificate of the
#: wanted type, no HTTP.
Stopped = Literal["", "unreachable", "slow", "tls", "type", "http"]
#: What is wrong with a chain of certificates: nothing, one is out of time, another name, or anything else.
Distrust = Literal["", "time", "name", "chain"]
#: What brings a keyring up to date that has certificates.
CERTBOT_RENEW = "certbot renew"
#: The roles of keys that certificates may be issued for.
HANDED_OVER = ("primary", "backup", "in-service")
PlaceKind = Literal[
    "keys",
    "csrs",
    "key",
    "live key",
    "keyring",
    "snippet",
    "records",
    "snippets",
    "foreign snippets",
    "above records",
]
Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Target:
    """A host to look at.

    :ivar name: the host's name, for SNI and HTTP
    :ivar optional: whether it is passed over if the name does not resolve
    :ivar guessed: whether it stands for a wildcard, and nobody may use it
    :ivar key_types: those that it is to have certificates of, if they are several
    """

    name: str
    optional: bool = False
    key_types: tuple[KeyType, ...] = ()
    guessed: bool = False


@dataclass(frozen=True)
class TlsObservation:
    """Hold what a host showed over TLS.

    :ivar certificate: in DER; ``None``: it did not get so far
    :ivar headers: the pin headers, each as often and in the order in which it was sent
    :ivar error: why it stopped, as a part of a sentence
    :ivar untrusted: why this machine does not trust the certificate's chain; empty: it does
    :ivar distrust: the same, by its kind
    :ivar address: the address, if the host's addresses differ
    :ivar key_type: the type of key that was asked for; ``None``: none, it is what it shows first
    :ivar guessed: whether the name is one that nobody may use
    """

    host: str
    certificate: bytes | None = None
    headers: Headers = ()
    stopped: Stopped = ""
    error: str = ""
    untrusted: str = ""
    distrust: Distrust = ""
    address: str = ""
    key_type: KeyType | None = None
    guessed: bool = False

    @property
    def where(self) -> str:
        """Name the host, and the address if it matters."""
        return f"{self.host} ({self.address})" if self.address else self.host

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the certificate."""
        return hashlib.sha256(self.certificate or b"").hexdigest()


@dataclass(frozen=True)
class HttpObservation:
    """Hold the pin headers that a host sent over plain HTTP; none, if nothing answers there."""

    host: str
    headers: Headers = ()


@dataclass(frozen=True)
class FileInfo:
    """A file or folder.

    :ivar mode: its permission bits
    :ivar owner: a user's number
    """

    path: str
    kind: PlaceKind
    mode: int
    owner: int


@dataclass(frozen=True)
class Certificate:
    """A live certificate of this machine.

    :ivar names: DNS names in lower case and IP addresses
    :ivar key_type: ``None``: of a kind that is never pinned
    :ivar fingerprint: SHA-256 (hex)
    """

    lineage: str
    names: tuple[str, ...]
    pin: str
    key_type: KeyType | None
    fingerprint: str
    begin: datetime
    end: datetime

    def is_for(self, host: str) -> bool:
        """Say whether it is for that host."""
        return any(hostnames.covers(name, host, subdomains=False) for name in self.names)


@dataclass(frozen=True)
class Broken:
    """Hold why certbot cannot renew a lineage, or the server not load it.

    :ivar skipped: whether certbot skips it
    :ivar why: as sentences
    :ivar mend: what to do, as sentences
    """

    skipped: bool
    why: str
    mend: str


@dataclass(frozen=True)
class Lineage:
    """A lineage of the keyring.

    :ivar deleted: certbot has it no more
    :ivar error: why it cannot be looked at, as sentences
    :ivar broken: what is wrong with its renewal file, links and files; ``None``: nothing
    :ivar key_error: why its live private key cannot be used, as a sentence
    :ivar reuse_denied: whether ``cli.ini`` says ``reuse-key = false``
    :ivar revoked: why the CA has revoked the live certificate; empty: it has not, as far as is known
    :ivar refused: what pinkeep does not take of its options; ``None``: nothing, or it is in ``cli.ini``
    :ivar misnamed: the renewal file, if it has another name than the lineage; empty: it has the same
    :ivar by_hand: the renewal file by which certbot does not renew it of itself; empty: it does
    :ivar renew_before: how long before it expires it is renewed; ``None``: certbot's default
    """

    name: str
    live: Certificate | None = None
    deleted: bool = False
    error: str = ""
    broken: Broken | None = None
    key_error: str = ""
    reuse_key: bool = False
    must_staple: bool = False
    misnamed: str = ""
    by_hand: str = ""
    renew_before: timedelta | None = None
    reuse_denied: bool = False
    refused: BadOption | None = None
    revoked: str = ""


@dataclass(frozen=True)
class Seen:
    """Hold all that was seen of a keyring.

    :ivar chosen: the options that count for it
    :ivar reloads: whether pinkeep reloads Apache itself
    :ivar configtest: the command that tests Apache's configuration; empty: none
    :ivar latest_known: the latest known time, at least now
    :ivar owner: the user whose its files have to be
    :ivar config_dir: certbot's, which the paths of keys begin with
    :ivar snippet: the snippet's text; ``None``: there is no file
    :ivar requests: what the saved CSRs ask for
    :ivar others: the certificates of this machine that are not the keyring's
    :ivar step: the command that brings the keyring up to date
    :ivar incoming: the lineages that have come from another keyring, and are not confirmed here yet
    :ivar server: the server that sends the header, as sentences name it
    :ivar server_config: what the server reads; ``None``: unknown, or nobody asked
    :ivar snippet_path: the snippet's real path
    """

    state: State
    chosen: Options
    reloads: bool
    latest_known: datetime
    owner: int
    config_dir: str
    snippet: str | None
    shown: tuple[TlsObservation, ...] = ()
    plain: tuple[HttpObservation, ...] = ()
    places: tuple[FileInfo, ...] = ()
    lineages: tuple[Lineage, ...] = ()
    requests: frozenset[CsrRequest] = frozenset()
    others: tuple[Certificate, ...] = ()
    incoming: tuple[str, ...] = ()
    configtest: str = ""
    step: str = CERTBOT_RENEW
    server: str = "Apache"
    server_config: ServerConfig | None = None
    snippet_path: str = ""

    @property
    def name(self) -> str:
        """Return the keyring's name."""
        return self.state.keyring.name

    @property
    def lives(self) -> tuple[Certificate, ...]:
        """List the live certificates of its lineages."""
        return tuple(one.live for one in self.lineages if one.live is not None)

    @property
    def without_header(self) -> tuple[str, ...]:
        """List the hosts that were not seen sending the header that is on record."""
        current = self.state.ledger.current
        name = current.policy.header_name.lower() if current else ""
        sending = {
            shown.host for shown in self.shown if name in {n.lower() for n, _ in shown.headers}
        }
        hosts = [host for one in self.state.keyring.drawing for host in one.hosts]
        return tuple(
            host
            for host in dict.fromkeys(hosts)
            if not any(hostnames.covers(host, one, subdomains=False) for one in sending)
        )

    @property
    def mending(self) -> str:
        """Tell what brings the keyring up to date. Without a certificate only leaving pinning does, and no
        message suggests that."""
        if self.step == CERTBOT_RENEW or self.state.unpin:
            return self.step
        return f"{self.step} (to stay pinned, ask for a certificate with --pinkeep-keyring {self.name})"

    @property
    def loading(self) -> str:
        """Tell what to do so that the server loads what is published, as a sentence."""
        if self.reloads and (self.step == CERTBOT_RENEW or self.state.unpin):
            return f"Run: {self.step}"
        return f"Reload {self.server}, and run: certbot-pinkeep confirm {self.name}"


def targets(keyring: Keyring) -> list[Target]:
    """List the hosts to look at. Clients note no pins for IP addresses (RFC 7469 §2.3.3)."""
    found: dict[str, set[KeyType]] = {}
    for member in keyring.members:
        key = keyring.key(member.pin)
        for host in () if member.transferred else member.hosts:
            found.setdefault(host, set()).update([key.kind.key_type] if key else [])
    wildcards = {host for host in found if host.startswith("*.")}
    names = [host for host in found if not hostnames.is_address(host)]
    # If there is no other name, a wildcard that cannot be looked at is told.
    optional = wildcards if set(names) > wildcards else set()
    return [
        Target(
            host.replace("*", PROBE_LABEL, 1) if host in wildcards else host,
            host in optional,
            tuple(sorted(found[host])) if len(found[host]) > 1 else (),
            host in wildcards,
        )
        for host in names
    ]
