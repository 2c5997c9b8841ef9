"""Mail servers whose keys a signed zone pins: certbot, PowerDNS, Postfix, Dovecot, and DANE's clients."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from certbot_pinkeep.core.pins import pin_of_certificate
from certbot_pinkeep.core.tlsa import record_of
from dane.world import FIRST, HOST, Network, example
from lab.ca import Ca
from lab.certbot import COMMAND_MAIN, Certbot
from lab.mail import Dovecot, Postfix
from lab.name_servers import API, API_KEY, PowerDns
from lab.namespace import Namespace
from lab.processes import Completed, Daemon

T = TypeVar("T")
HERE = "127.0.0.1"
POSTFIX, DOVECOT = "--reload-command=postfix reload", "--reload-command=doveadm reload"


class InnerCa(Ca):
    """A CA in a namespace."""

    def __init__(self, ns: Namespace, folder: Path) -> None:
        super().__init__(folder, reuse=True)
        self._ns = ns

    def daemon(self, command: list[str], log: Path, env: dict[str, str]) -> Daemon:
        """Start a server in the namespace."""
        return self._ns.start(command, log, env)

    def call(self, function: Callable[..., T], *args: object) -> T:
        """Return what a function returns in the namespace."""
        return self._ns.call(function, *args)


class MailServer:
    """A mail server that has its zone on a name server of its own, and one certificate for both daemons."""

    def __init__(self, world: Network, running: ExitStack) -> None:
        self.ns = world.ns
        self._days = 0
        folder = world.folder
        zone = example("mail A 127.0.0.1", "@ MX 10 mail", servers={"ns1.example.test": [FIRST]})
        # TSIG would not let a machine change the zone whose clock is moved.
        name_server = PowerDns(self.ns, folder / "pdns", FIRST, [zone])
        ds = name_server.sign(zone)
        world.start(name_server)
        self.internet = world.open(zone, ds=[ds])
        self.credentials = folder / "credentials"
        self.credentials.write_text(
            f"dns_powerdns_api_url = {API}\ndns_powerdns_api_key = {API_KEY}\n"
        )
        self.credentials.chmod(0o600)
        self.bot = Certbot(folder / "certbot", running.enter_context(InnerCa(self.ns, folder)))
        self.certbot("certonly", *self.bot.by_http, "-d", HOST, "--key-type=ecdsa").check()
        live = self.bot.live(HOST)
        files = [(live / "fullchain.pem", live / "privkey.pem")]
        self.postfix = running.enter_context(Postfix(self.ns, folder / "postfix", files))
        self.dovecot = running.enter_context(Dovecot(self.ns, folder / "dovecot", files))

    def certbot(self, *args: str) -> Completed:
        """Run certbot."""
        return self._run(self.bot.command(*args, *self.bot.account))

    def pinkeep(self, *args: str) -> Completed:
        """Run certbot-pinkeep."""
        return self._run([sys.executable, "-c", COMMAND_MAIN, *args, *self.bot.folders])

    def _run(self, command: list[str]) -> Completed:
        return self.ns.run(command, env=self.bot.env(timedelta(self._days)))

    def wait_a_day(self) -> None:
        """Move its clock. The resolver forgets what it holds by then."""
        self._days += 1
        self.internet.forget()

    def pin(self, *reloads: str) -> Completed:
        """Pin the certificate, for three ports."""
        words = ["--header=none", "--tlsa=25,465,993", f"--dns-credentials={self.credentials}"]
        return self.pinkeep("pin", HOST, *words, "--tlsa-ttl=60", *reloads)

    @property
    def live(self) -> str:
        """The record of the key that is live."""
        full = self.bot.live(HOST) / "cert.pem"
        return str(record_of(pin_of_certificate(full.read_bytes())))

    def records(self, port: int = 25) -> list[str]:
        """What the name server has for a port."""
        words = ["dig", "+short", "+nosplit", f"@{FIRST}", f"_{port}._tcp.{HOST}", "TLSA"]
        return self.ns.run(words).check().stdout.lower().splitlines()

    def accepted(self) -> dict[int, bool]:
        """Whether clients that use DANE accept the key that each port shows, by the records it has now."""
        finger = ["posttls-finger", "-t30", "-c", "-l", "dane", "-L", "summary", f"[{HOST}]"]
        found = {25: "Verified TLS connection" in self.ns.run(finger).output}
        for port in (465, 993):
            words = ["openssl", "s_client", "-connect", f"{HERE}:{port}", "-verify_return_error"]
            words += ["-brief", "-dane_tlsa_domain", HOST]
            words += [one for r in self.records(port) for one in ("-dane_tlsa_rrdata", r)]
            found[port] = self.ns.run(words).returncode == 0
        return found


@pytest.fixture
def machine(world: Network) -> Iterator[MailServer]:
    """The certificate is there, and nothing is pinned."""
    with ExitStack() as running:
        yield MailServer(world, running)


ALL = {25: True, 465: True, 993: True}


def test_g2_g13_a_key_is_rolled_over_and_no_client_is_locked_out(machine: MailServer) -> None:
    """The zone has the current key and the next; the old one leaves it after every port has the new one."""
    machine.pin(POSTFIX, DOVECOT).check()
    machine.pinkeep("dns", HOST).check()
    first = machine.live
    assert first in machine.records() and len(machine.records()) >= 2
    machine.wait_a_day()
    assert machine.accepted() == ALL
    machine.pinkeep("dns", HOST).check()
    machine.pinkeep("rollover", HOST).check()
    machine.certbot("renew", "--force-renewal").check()
    assert machine.live != first and machine.live in machine.records()
    assert machine.accepted() == ALL
    machine.wait_a_day()
    machine.pinkeep("dns", HOST).check()
    assert first not in machine.records() and machine.accepted() == ALL


def test_g13_a_daemon_that_was_not_reloaded_keeps_its_key_in_the_zone(machine: MailServer) -> None:
    """Dovecot's reload was forgotten: its port goes on being accepted, and the error names it."""
    machine.pin(POSTFIX).check()
    first = machine.live
    for _ in range(2):
        machine.wait_a_day()
        machine.pinkeep("dns", HOST).check()
    machine.pinkeep("rollover", HOST).check()
    ended = [machine.certbot("renew", "--force-renewal")]
    assert machine.live != first
    machine.wait_a_day()
    ended.append(machine.pinkeep("dns", HOST))
    for one in ended:
        assert one.returncode == 1, one.output
        assert f"{HOST}:993 ({HERE}): It still shows the key with the pin" in one.stderr
    assert first in machine.records(993) and machine.accepted() == ALL
    machine.dovecot.reload()
    machine.wait_a_day()
    machine.pinkeep("dns", HOST).check()
    assert first not in machine.records(993) and machine.accepted() == ALL
