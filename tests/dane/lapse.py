"""Months of a mail server within a minute: three ways to renew, and mail servers that hold old records.

Name servers and ports stay in the present; every run of certbot, and every delivery of mail, is told what
time it is. A sending mail server asks one of the name servers through a cache, which holds an answer for its
TTL. At each moment mail comes from every cache that is possible: from each answer that any name server gave,
as long as its TTL allows. OpenSSL judges whether it would be delivered (RFC 7672 §2.2).
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import ssl
import subprocess
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import dns.message
import dns.query

from certbot_pinkeep.core import pins
from certbot_pinkeep.core.pem import load_certificate
from certbot_pinkeep.core.tlsa import TlsaRecord, record_of
from lab import wait_for
from lab.judges import NO_MATCH
from lab.processes import LabError, clean_env, program, run

Records = frozenset[TlsaRecord]
#: The TTL of the records: longer than the time between two runs, so that old answers are held.
TTL = timedelta(days=3)


class Mail:
    """A port for TLS at an address, which goes on with the certificate that it has loaded."""

    def __init__(self, address: str, number: int, live: Path) -> None:
        self.address, self.number, self._live = address, number, live
        self._process: subprocess.Popen[bytes] | None = None
        self.pin = ""
        self.reload()

    def reload(self) -> None:
        """Load the live certificate."""
        self.stop()
        certificate, key = (self._live / f"{name}.pem" for name in ("fullchain", "privkey"))
        command = [program("openssl"), "s_server", "-quiet", "-accept"]
        command += [f"{self.address}:{self.number}", "-cert", str(certificate), "-key", str(key)]
        self._process = subprocess.Popen(
            command,
            env=clean_env(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.pin = pins.pin_of_certificate(certificate.read_bytes())
        wait_for(self._serves, f"port {self.number}")

    def _serves(self) -> bool:
        try:
            shown = ssl.get_server_certificate((self.address, self.number))
        except OSError:
            return False
        return pins.pin_of(load_certificate(shown.encode()).public_key()) == self.pin

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@dataclass
class Senders:
    """The mail servers that send mail to a host, each with what it may still hold.

    :ivar host: the host's name
    :ivar held: by port, the answers that were given, and until which day they may be held
    :ivar refused: what was not delivered: the day and the port
    """

    host: str
    servers: Sequence[str]
    mail: Sequence[Mail]
    held: dict[int, dict[Records, timedelta]] = field(default_factory=dict)
    deliveries: int = 0
    refused: list[tuple[timedelta, int]] = field(default_factory=list)
    _judged: dict[tuple[int, str, Records], bool] = field(default_factory=dict)

    def deliver(self, now: timedelta) -> None:
        """Send mail from every cache that is possible at this time."""
        for port in self.mail:
            held = self.held.setdefault(port.number, {})
            for server in self.servers:
                held[ask(server, f"_{port.number}._tcp.{self.host}.")] = now + TTL
            for records, until in list(held.items()):
                if until < now:
                    del held[records]
                    continue
                self.deliveries += 1
                if not self._accepts(port, records):
                    self.refused.append((now, port.number))

    def _accepts(self, port: Mail, records: Records) -> bool:
        """Ask OpenSSL, once for each key and set of records."""
        case = (port.number, port.pin, records)
        if case not in self._judged:
            self._judged[case] = not records or accepts(self.host, port, records)
        return self._judged[case]


def ask(server: str, owner: str) -> Records:
    """Ask one name server for the records of a port."""
    reply = dns.query.udp(dns.message.make_query(owner, "TLSA"), server, timeout=5)
    return frozenset(
        TlsaRecord(one.usage, one.selector, one.mtype, one.cert.hex())
        for answer in reply.answer
        for one in answer
    )


def accepts(host: str, port: Mail, records: Records) -> bool:
    """Whether OpenSSL accepts what the port serves, for these records."""
    command = [program("openssl"), "s_client", "-connect", f"{port.address}:{port.number}"]
    command += ["-dane_tlsa_domain", host, "-verify_return_error", "-dane_ee_no_namechecks"]
    for record in sorted(records):
        command += ["-dane_tlsa_rrdata", str(record)]
    done = run(command, env=clean_env())
    accepted = done.returncode == 0 and "Verification: OK" in done.output
    if not accepted and NO_MATCH not in done.output.lower():
        raise LabError(f"neither accepted nor refused: {done}\n{done.output}")
    return accepted


class Secondary:
    """A second name server, which has what the first one had when it was last told to follow."""

    def __init__(self, first: Path, second: Path) -> None:
        self._files = first / "db", second / "db"

    def follow(self) -> None:
        """Have it serve what the first one serves."""
        with (
            closing(sqlite3.connect(self._files[0])) as first,
            closing(sqlite3.connect(self._files[1])) as second,
        ):
            first.backup(second)


class ByHand:
    """A host whose admin makes keys and enters records, by one rule or another.

    :ivar live: the folder with its certificate, as certbot has it
    """

    def __init__(self, folder: Path) -> None:
        self.live = folder
        folder.mkdir(parents=True)
        self.staged = folder / "next"
        self.make(folder)

    def make(self, folder: Path) -> None:
        """Make a key with a certificate: whose it is makes no difference to DANE (RFC 7671 §5.1)."""
        folder.mkdir(exist_ok=True)
        command = [program("openssl"), "req", "-x509", "-newkey", "ec", "-nodes", "-days", "3650"]
        command += ["-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=mail", "-keyout"]
        command += [str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem")]
        run(command, env=clean_env()).check()

    def switch(self) -> None:
        """Have the staged key live."""
        for name in ("privkey.pem", "fullchain.pem"):
            os.replace(self.staged / name, self.live / name)
        shutil.rmtree(self.staged)

    def record(self, folder: Path | None = None) -> TlsaRecord:
        """The record of a key."""
        path = (folder or self.live) / "fullchain.pem"
        return record_of(pins.pin_of_certificate(path.read_bytes()))
