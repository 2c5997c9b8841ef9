"""From nothing to DANE, as the how-to has it: certbot, Postfix, Dovecot, a signed zone, and judges.

Everything is real: BIND signs and transfers the zone, Unbound validates, ``posttls-finger`` asks the zone as
a Postfix that delivers mail does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from certbot_pinkeep.core.pins import pin_of_certificate
from certbot_pinkeep.core.tlsa import record_of
from dane.world import FIRST, HOST, SECOND, Network, example
from lab import Ca, Certbot, wait_for
from lab.mail import Dovecot, Postfix
from lab.name_servers import KEY, SECRET, Bind
from lab.processes import Completed

ZONE = example("mail A 127.0.0.1", "@ MX 10 mail")
#: Calls one of the functions below in the namespace.
CALL = """\
import sys
from pathlib import Path
sys.path.append(sys.argv[1])
from dane import test_story
sys.exit(getattr(test_story, sys.argv[2])(Path(sys.argv[3]), *sys.argv[4:]))
"""
PORTS = "25,465,587,993"


class MailServer:
    """A mail server's machine: what its admin does, and what others see of it."""

    def __init__(self, world: Network, running: ExitStack) -> None:
        self.world = world
        (world.folder / "zone").write_text(ZONE.text)
        first = Bind(
            world.ns, world.folder / "first", [FIRST], [Bind.changed(ZONE, world.folder / "zone")]
        )
        second = Bind(world.ns, world.folder / "second", [SECOND], [Bind.followed(ZONE, FIRST)])
        self.second = world.start(first), world.start(second)
        keys = wait_for(lambda: list((world.folder / "first").glob("K*.key")), "the zone's key")
        world.open(ZONE, ds=[world.signer.ds(keys[0])])
        self.credentials = world.folder / "rfc2136.ini"
        self.credentials.write_text(
            f"dns_rfc2136_server = {FIRST}\ndns_rfc2136_name = {KEY}\n"
            f"dns_rfc2136_secret = {SECRET}\ndns_rfc2136_algorithm = HMAC-SHA256\n"
        )
        self.credentials.chmod(0o600)
        self.certbot("certonly", "-d", HOST)
        live = world.folder / "certbot" / "config" / "live" / HOST
        self.cert = live / "cert.pem"
        files = live / "fullchain.pem", live / "privkey.pem"
        self.postfix = Postfix(world.ns, world.folder / "postfix", [files])
        self.dovecot = Dovecot(world.ns, world.folder / "dovecot", [files])
        running.enter_context(self.postfix)
        running.enter_context(self.dovecot)

    def run(self, act: Callable[..., int], *words: str) -> Completed:
        """Do something with certbot in the namespace, among its processes: daemons are reloaded."""
        tests = str(Path(__file__).parents[1])
        call = [sys.executable, "-c", CALL, tests, act.__name__, str(self.world.folder), *words]
        return self.world.ns.run(call)

    def certbot(self, *words: str) -> str:
        """Run certbot; what it said."""
        return self.run(certbot, *words).check().output

    def pinkeep(self, *words: str) -> tuple[int, str]:
        """Run the command: its exit code, and what it said."""
        done = self.run(pinkeep, *words)
        return done.returncode, done.output

    @property
    def pin(self) -> str:
        """The pin of the live key."""
        return pin_of_certificate(self.cert.read_bytes())

    def verified(self) -> bool:
        """Whether a Postfix that delivers mail finds the key in the zone."""
        words = [
            "posttls-finger",
            "-t30",
            "-T180",
            "-c",
            "-l",
            "dane",
            "-L",
            "summary",
            f"[{HOST}]",
        ]
        return "Verified TLS connection established" in self.world.ns.run(words).output


def certbot(folder: Path, *words: str) -> int:
    """Run certbot against a CA of its own."""
    with Ca(folder / "ca", reuse=True) as ca:
        bot = Certbot(folder / "certbot", ca)
        done = bot.run(*words, *bot.account, *bot.by_http)
    print(done.output)
    return done.returncode


def pinkeep(folder: Path, *words: str) -> int:
    """Run the command, which needs no CA."""
    done = Certbot(folder / "certbot", Ca(folder / "ca")).pinkeep(*words)
    print(done.output)
    return done.returncode


@pytest.fixture
def machine(world: Network) -> Any:
    """A machine with all of it, and no pins."""
    with ExitStack() as running:
        yield MailServer(world, running)


def test_g13_from_nothing_to_dane(machine: MailServer) -> None:
    """Pinned by one command, renewed, refused when it is too early, and never unverified."""
    assert not machine.verified()  # there is nothing to verify it by
    reloads = ["--reload-command", "postfix reload", "--reload-command", "doveadm reload"]
    code, said = machine.pinkeep(
        *("pin", HOST, "--header", "none", "--tlsa", PORTS, *reloads),
        *("--dns-credentials", str(machine.credentials)),
    )
    assert code == 0, said
    assert f"The zone pins the keys of {HOST}:25" in said
    wait_for(
        machine.verified, "posttls-finger to verify the key"
    )  # it may hold that there were none
    first = machine.pin
    assert machine.certbot("renew", "--force-renewal") and machine.pin == first
    assert machine.verified()
    code, said = machine.pinkeep("rollover", HOST, "--now")
    assert code == 1 and "resolvers may hold the TLSA records" in said and machine.pin == first
    code, said = machine.pinkeep("check")
    assert (code, said.startswith("PINKEEP OK")) == (0, True), said
    code, said = machine.pinkeep("dns", HOST)
    assert code == 0 and "signed until" in said and ", valid" in said
    # What Postfix serves is what the zone says; that the judge refuses another key is shown in test_ports.
    records = machine.world.look(25)[0].agreed
    assert records and record_of(first) in records and len(records) == 3
