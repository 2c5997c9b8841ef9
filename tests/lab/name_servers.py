"""Name servers in a :class:`~lab.namespace.Namespace`: BIND, Knot DNS, PowerDNS, and a validating Unbound.

Each of them has addresses of its own and listens on port 53. :class:`Internet` is what leads to their zones:
a root zone of its own, signed, and the resolver of the machine.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from lab import unpacked
from lab.namespace import Namespace
from lab.processes import Daemon
from lab.waiting import wait_for

ROOT, RESOLVER = "127.0.0.5", "127.0.0.53"
#: The TSIG key that may change TLSA records.
KEY, SECRET = "pinkeep.", "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
API, API_KEY = "http://127.0.0.4:8081", "not-secret"
_ALGORITHM = "ECDSAP256SHA256"


@dataclass(frozen=True)
class Zone:
    """A zone, as it is written down.

    :ivar name: without a dot at its end
    :ivar servers: the names of its name servers, with their addresses
    :ivar lines: its other records
    """

    name: str
    servers: Mapping[str, Sequence[str]]
    lines: Sequence[str] = ()
    serial: int = 1

    @property
    def origin(self) -> str:
        """Its name, with a dot at its end."""
        return f"{self.name}."

    @property
    def delegation(self) -> str:
        """What the zone above says of it."""
        return "".join(
            f"{self.origin} 300 NS {server}.\n"
            + "".join(f"{server}. 300 {_kind(one)} {one}\n" for one in addresses)
            for server, addresses in self.servers.items()
        )

    @property
    def text(self) -> str:
        """The whole zone file."""
        first = next(iter(self.servers))
        head = f"$TTL 300\n$ORIGIN {self.origin}\n@ SOA {first}. admin 0{self.serial} 3600 600 86400 60\n"
        return head + self.delegation + "".join(f"{line}\n" for line in self.lines)


def _kind(address: str) -> str:
    return "AAAA" if ":" in address else "A"


class Signer:
    """The keys of zones, made and used as their admins would do it by hand."""

    def __init__(self, ns: Namespace, folder: Path) -> None:
        self._ns = ns
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def make(self, origin: str) -> Path:
        """Make a key, and return the file of the public one."""
        made = self._ns.run(
            ["dnssec-keygen", "-q", "-K", str(self.folder), "-a", _ALGORITHM, "-f", "KSK", origin]
        ).check()
        return self.folder / f"{made.stdout.strip()}.key"

    def make_for(self, zone: Zone, bind: Bind) -> Path:
        """Make the key that a BIND which signs by itself is to use, and return the same."""
        conf = str(bind.folder / "named.conf")
        made = self._ns.run(
            ["dnssec-keygen", "-q", "-K", str(bind.folder), "-k", "quick", "-l", conf, zone.origin]
        ).check()
        return bind.folder / f"{made.stdout.strip()}.key"

    def ds(self, key: Path) -> str:
        """Return the record for the zone above."""
        return self._ns.run(["dnssec-dsfromkey", "-2", str(key)]).check().stdout

    def sign(
        self, zone: Zone, key: Path, *, ends: str = "now+1209600", begins: str = "now-3600"
    ) -> Path:
        """Sign a zone, and return the file.

        :param ends: when the signatures end, as ``dnssec-signzone`` takes it
        """
        plain = self.folder / f"{zone.name or 'root'}.zone"
        signed = plain.with_suffix(".signed")
        plain.write_text(zone.text + key.read_text())
        self._ns.run(
            [
                *("dnssec-signzone", "-q", "-P", "-z", "-o", zone.origin, "-K", str(self.folder)),
                *("-s", begins, "-e", ends, "-f", str(signed), str(plain), str(key)),
            ]
        ).check()
        return signed


class Server:
    """A name server that runs in a namespace. Use it as a context manager."""

    def __init__(self, ns: Namespace, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.ns = ns
        self.folder = folder
        self.log = folder / "log"
        self.daemon: Daemon | None = None

    def command(self) -> list[str]:
        """Return the command that runs it in the foreground."""
        raise NotImplementedError

    ready = "running"

    def __enter__(self) -> Server:
        self.log.write_text("")
        daemon = self.daemon = self.ns.start(self.command(), self.log)
        wait_for(
            lambda: daemon.alive() and self.ready in self.log.read_text(errors="replace"),
            f"{type(self).__name__} to answer",
        )
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it."""
        if self.daemon is not None:
            self.daemon.stop()


class Bind(Server):
    """BIND's ``named`` at some addresses.

    :param zones: its statements for zones
    :param options: further statements for its options
    """

    ready = " running\n"

    def __init__(
        self,
        ns: Namespace,
        folder: Path,
        addresses: Sequence[str],
        zones: Sequence[str],
        *,
        options: str = "",
    ) -> None:
        super().__init__(ns, folder)
        for one in addresses:
            ns.add_address(one)
        four = [one for one in addresses if ":" not in one]
        six = [one for one in addresses if ":" in one]
        source = f"notify-source {four[0]}; transfer-source {four[0]};" if four else ""
        (folder / "named.conf").write_text(
            f'''key "{KEY}" {{ algorithm hmac-sha256; secret "{SECRET}"; }};
controls {{ }};
options {{
  directory "{folder}"; pid-file none; session-keyfile none; recursion no; dnssec-validation no;
  listen-on {{ {"".join(f"{one}; " for one in four) or "none; "}}};
  listen-on-v6 {{ {"".join(f"{one}; " for one in six) or "none; "}}};
  notify-delay 0; allow-transfer {{ any; }}; {source} {options}
}};
dnssec-policy "quick" {{
  keys {{ csk lifetime unlimited algorithm ecdsap256sha256; }};
  signatures-validity P14D; signatures-refresh P5D;
}};
{"".join(zones)}'''
        )

    def command(self) -> list[str]:
        """Return the command that runs it in the foreground."""
        return ["named", "-g", "-n", "1", "-c", str(self.folder / "named.conf")]

    @staticmethod
    def served(zone: Zone, file: Path) -> str:
        """Return the statement for a zone that is served as a file has it."""
        return f'zone "{zone.name or "."}" {{ type primary; file "{file}"; }};\n'

    @staticmethod
    def changed(zone: Zone, file: Path, *, signed: bool = True) -> str:
        """Return the statement for a zone whose TLSA records :data:`KEY` may change."""
        policy = 'dnssec-policy "quick"; inline-signing yes;' if signed else ""
        grant = f"update-policy {{ grant {KEY} zonesub TLSA; }};"
        return f'zone "{zone.name}" {{ type primary; file "{file}"; {policy} {grant} }};\n'

    @staticmethod
    def followed(zone: Zone, primary: str) -> str:
        """Return the statement for a zone that is transferred from its primary."""
        return (
            f'zone "{zone.name}" {{ type secondary; file "{zone.name}.copy"; masterfile-format text; '
            f"primaries {{ {primary}; }}; }};\n"
        )


class Knot(Server):
    """Knot DNS at an address, with zones whose TLSA records :data:`KEY` may change; it signs them."""

    ready = "server started"

    def __init__(self, ns: Namespace, folder: Path, address: str, zones: Sequence[Zone]) -> None:
        super().__init__(ns, folder)
        (folder / "db").mkdir()
        text = f"""server:
  rundir: "{folder}"
  listen: {address}@53
database:
  storage: "{folder}/db"
log:
  - target: stdout
    any: info
key:
  - id: {KEY}
    algorithm: hmac-sha256
    secret: {SECRET}
acl:
  - id: change
    key: {KEY}
    action: update
    update-type: [TLSA]
policy:
  - id: quick
    algorithm: ecdsap256sha256
    single-type-signing: on
zone:
"""
        for zone in zones:
            (folder / f"{zone.name}.zone").write_text(zone.text)
            text += f"""  - domain: {zone.name}
    storage: "{folder}"
    file: {zone.name}.zone
    acl: change
    dnssec-signing: on
    dnssec-policy: quick
"""
        (folder / "knot.conf").write_text(text)

    def command(self) -> list[str]:
        """Return the command that runs it in the foreground."""
        return ["knotd", "-c", str(self.folder / "knot.conf")]


class PowerDns(Server):
    """PowerDNS with a database of its own and its HTTP API, at :data:`API`."""

    ready = "Creating backend connection for TCP"

    def __init__(
        self,
        ns: Namespace,
        folder: Path,
        address: str,
        zones: Sequence[Zone],
        *,
        api: bool = True,
        caches: bool = True,
    ) -> None:
        super().__init__(ns, folder)
        schema = unpacked.FOLDER / "root/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql"
        with sqlite3.connect(folder / "db") as database:
            database.executescript(schema.read_text())
        options = {
            "launch": "gsqlite3",
            "gsqlite3-database": folder / "db",
            "gsqlite3-pragma-synchronous": 0,
            "gsqlite3-dnssec": "yes",
            "local-address": address,
            "socket-dir": folder,
            "zone-cache-refresh-interval": 0,
        }
        if api:
            options["api"] = "yes"
            options["api-key"] = API_KEY
            options["webserver-address"] = API.rpartition(":")[0].removeprefix("http://")
            options["webserver-port"] = API.rpartition(":")[2]
        if not caches:
            options |= {"cache-ttl": 0, "query-cache-ttl": 0, "negquery-cache-ttl": 0}
        (folder / "pdns.conf").write_text(
            "".join(f"{name}={value}\n" for name, value in options.items())
        )
        for zone in zones:
            file = folder / f"{zone.name}.zone"
            file.write_text(zone.text)
            self._tool("load-zone", zone.name, str(file))

    def sign(self, zone: Zone) -> str:
        """Have it sign a zone, and return the record for the zone above."""
        self._tool("secure-zone", zone.name)
        return self._tool("export-zone-ds", zone.name)

    def _tool(self, *words: str) -> str:
        return self.ns.run(["pdnsutil", "--config-dir", str(self.folder), *words]).check().stdout

    def command(self) -> list[str]:
        """Return the command that runs it in the foreground."""
        return ["pdns_server", f"--config-dir={self.folder}", "--guardian=no", "--daemon=no"]


class Unbound(Server):
    """The resolver that validates, at the address that ``/etc/resolv.conf`` names."""

    ready = "start of service"

    def __init__(
        self,
        ns: Namespace,
        folder: Path,
        root: Zone,
        anchor: Path,
        *,
        validates: bool,
        forgets: bool = True,
    ) -> None:
        super().__init__(ns, folder)
        modules = "validator iterator" if validates else "iterator"
        (folder / "hints").write_text(root.delegation)
        (folder / "unbound.conf").write_text(
            f"""server:
  chroot: ""
  username: ""
  directory: "{folder}"
  pidfile: "{folder}/pid"
  use-syslog: no
  interface: {RESOLVER}
  do-not-query-localhost: no
  root-hints: "{folder}/hints"
  trust-anchor-file: "{anchor}"
  local-zone: "test." nodefault
  module-config: "{modules}"
  ede: yes
  cache-max-negative-ttl: {1 if forgets else 3600}
remote-control:
  control-enable: no
"""
        )

    def command(self) -> list[str]:
        """Return the command that runs it in the foreground."""
        return ["unbound", "-dd", "-c", str(self.folder / "unbound.conf")]


class Internet:
    """The way to zones: a signed root zone with their delegations, and the machine's resolver.

    Use it as a context manager.

    :param ds: the DS records of the zones whose signatures count
    :param validates: whether the resolver validates
    :param forgets: whether it soon forgets that there are no records: few tests can wait for that
    """

    def __init__(
        self,
        ns: Namespace,
        folder: Path,
        zones: Sequence[Zone],
        ds: Sequence[str] = (),
        *,
        validates: bool = True,
        forgets: bool = True,
    ) -> None:
        lines = [*(zone.delegation for zone in zones), *ds]
        root = Zone("", {"a.root": [ROOT]}, lines)
        signer = Signer(ns, folder / "root")
        key = signer.make(".")
        file = signer.sign(root, key)
        resolver = folder / "resolver"
        self._servers = (
            Bind(ns, folder / "root", [ROOT], [Bind.served(root, file)]),
            Unbound(ns, resolver, root, key, validates=validates, forgets=forgets),
        )
        self._running = ExitStack()

    def forget(self) -> None:
        """Have the resolver forget what it holds, as time does."""
        resolver = self._servers[1]
        resolver.stop()
        resolver.__enter__()

    def __enter__(self) -> Internet:
        for server in self._servers:
            self._running.enter_context(server)
        return self

    def __exit__(self, *error: object) -> None:
        self._running.close()
