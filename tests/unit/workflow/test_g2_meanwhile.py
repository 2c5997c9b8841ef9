"""G2, G3 while a renewal is under way: what is promised meanwhile holds for it, too."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from certbot import errors, util

from certbot_pinkeep.adapters import certbot_client, clock
from certbot_pinkeep.cli import main
from certbot_pinkeep.core.key_and_csr import KeyAndCsr
from certbot_pinkeep.workflow import offline_backups, releases, requests
from simulated import server as server_
from simulated.machine import Machine
from simulated.server import Server
from simulated.values import DAY, NOW, certificate, pin_of_key
from simulated.workflow import Workflow

SITE = "pin.test"
LATER = NOW + DAY


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A pinned lineage with two backups, a day later."""
    found = Machine(tmp_path)
    found.issue(SITE)
    found.keep(SITE, SITE)
    monkeypatch.setattr(clock, "now", lambda: LATER)
    return found


def run(machine: Machine, *words: str) -> int:
    """The command on this machine."""
    folders = ["--config-dir", str(machine.config), "--work-dir", str(machine.work)]
    return main.main([*words, *folders, "--logs-dir", str(machine.config.parent / "logs")])


@contextmanager
def certbot_at_work(machine: Machine) -> Iterator[None]:
    """Another process that holds certbot's lock."""
    holds = (
        "import sys; from certbot import util; util.lock_dir_until_exit(sys.argv[1]); "
        "print(flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", holds, str(machine.config)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as certbot:
        assert certbot.stdout is not None and certbot.stdout.readline()
        yield
        certbot.communicate()


RELEASE = ("--channel", "ios", "--label", "3.2")


@pytest.mark.parametrize(
    "words",
    [
        ("release", SITE, "add", *RELEASE, "--until", "2027-03-01"),
        ("release", SITE, "extend", *RELEASE, "--until", "2027-03-01"),
        ("release", SITE, "end", *RELEASE),
        ("rollover", SITE),
        ("rollover", SITE, "--when-safe"),
        ("rollover", SITE, "--force"),
        ("rollover", SITE, "--compromised", "--now"),
        ("rollover", SITE, "--undo"),
        ("backup", SITE, "drop", "PIN"),
        ("backup", SITE, "add", "--csr", "FILE"),
        ("confirm", SITE, "--clock"),
        ("unpin", SITE),
        ("unpin", SITE, "--undo"),
    ],
    ids=" ".join,
)
def test_g2_what_promises_a_safe_rollover_is_refused_while_certbot_is_at_work(
    machine: Machine, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], tmp_path: Path
) -> None:
    """It says what to do, changes nothing, and is done once certbot has ended."""
    csr = tmp_path / "offline.csr"
    (saved, *_) = sorted((machine.config / "csr").iterdir())
    csr.write_bytes(saved.read_bytes())
    given = {"PIN": machine.published(SITE).pins[2], "FILE": str(csr)}
    if {"extend", "end"} & {*words}:
        releases.add(
            machine.workflow, releases.ReleaseRequest(SITE, "ios", "3.2", NOW + 9 * DAY), NOW
        )
    before = machine.store_text(SITE)
    with certbot_at_work(machine):
        assert run(machine, *(given.get(word, word) for word in words)) == 1
    told = capsys.readouterr().err
    assert "Certbot is at work in" in told and "Run this again after certbot has ended." in told
    assert told.endswith(" Nothing was changed.\n")
    assert machine.store_text(SITE) == before
    run(machine, *(given.get(word, word) for word in words))
    assert "at work" not in capsys.readouterr().err
    assert not (machine.config / ".certbot.lock").exists()


@pytest.mark.parametrize("words", [("confirm", SITE), ("status",), ("release", SITE, "list")])
def test_g12_what_promises_no_rollover_is_not_refused_in_a_hook(
    machine: Machine, words: tuple[str, ...]
) -> None:
    """A hook of certbot that reloads Apache can confirm it: certbot holds its lock meanwhile."""
    with certbot_at_work(machine):
        assert run(machine, *words) == 0


@pytest.mark.usefixtures("machine")
def test_g10_config_dir_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """No lock is looked for in it."""
    missing = tmp_path / "missing"
    assert main.main(["rollover", SITE, "--config-dir", str(missing)]) == 1
    assert not missing.exists()


class Renewing:
    """The installer, as far as the certbot client asks it, on a machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def handover(self, names: list[str], live_key_path: str | None, dry_run: bool) -> KeyAndCsr:
        """What the keyring says."""
        return self.machine.handed(SITE, SITE, LATER)

    def is_still_chosen(self, names: list[str], live_key_path: str | None, pin: str) -> bool:
        """What the keyring says."""
        return self.machine.workflow.is_still_chosen(
            self.machine.look(SITE), SITE, names, pin, LATER
        )

    def issued(self, certificate: bytes) -> None:
        """Certbot gets to store it."""


@pytest.fixture
def renewed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[str, list[str]]]:
    """A renewal by certbot's client while whose order something happens."""

    class Client:
        meanwhile: Any = None

        def __init__(self) -> None:
            self.installer = Renewing(machine)
            self.config = SimpleNamespace(dry_run=False, allow_subset_of_names=False)
            self.ordered: list[str] = []

        def obtain_certificate(self, domains: Any, old_keypath: Any = None) -> None:
            raise AssertionError("certbot's own way")

        def obtain_certificate_from_csr(self, csr: util.CSR, orderr: object = None) -> Any:
            pem = keys[csr.data]
            self.ordered.append(pin_of_key(pem))
            if self.meanwhile is not None:
                self.meanwhile(len(self.ordered))
            return certificate(pem, [SITE]), b"chain"

        def _get_order_and_authorizations(self, csr_pem: bytes, best_effort: bool) -> object:
            raise AssertionError("not for all names at once")

    keys: dict[bytes, bytes] = {}
    original = certbot_client._obtain

    def noted(order: Any, handed: KeyAndCsr) -> Any:
        keys[handed.csr.pem] = handed.key_pem
        return original(order, handed)

    monkeypatch.setattr(certbot_client, "_obtain", noted)
    monkeypatch.setattr(certbot_client, "certbot_client", SimpleNamespace(Client=Client))
    conflicts = SimpleNamespace(_avoid_reuse_key_conflicts=lambda config, lineage: None)
    monkeypatch.setattr(certbot_client, "certbot_renewal", conflicts)
    pinning: Any = Renewing
    certbot_client.wrap(lambda one: one if isinstance(one, pinning) else None)

    def renew(meanwhile: Any) -> tuple[str, list[str]]:
        client: Any = Client()
        client.meanwhile = meanwhile
        path = str(machine.config / "live" / SITE / "privkey.pem")
        stored = client.obtain_certificate([SITE], path)
        return pin_of_key(stored[2].pem), client.ordered

    return renew


def test_g2_release_that_is_recorded_during_a_renewal_is_heeded(
    machine: Machine, renewed: Callable[..., tuple[str, list[str]]]
) -> None:
    """The certificate for the next key is not stored: one for the key that the app carries is obtained in
    the same run (G3)."""
    live, backup, _ = machine.published(SITE).pins
    requests.ask(machine.workflow, SITE, LATER)

    def recorded(order: int) -> None:
        if order == 1:
            wanted = releases.ReleaseRequest(SITE, "ios", "3.2", NOW + 99 * DAY, pins=(live,))
            releases.add(machine.workflow, wanted, LATER)

    assert renewed(recorded) == (live, [backup, live])


@pytest.mark.parametrize(
    ("meanwhile", "stored", "orders"),
    [
        ("nothing", 1, [1]),
        ("the request is taken back", 0, [1, 0]),
        ("the backup is dropped", 2, [1, 2]),
        ("the key is known to be compromised", 2, [1, 2]),
        ("a safe backup more is asked for", 1, [1]),
    ],
)
def test_g2_g3_what_changes_during_a_renewal_counts(
    machine: Machine,
    renewed: Callable[..., tuple[str, list[str]]],
    meanwhile: str,
    stored: int,
    orders: list[int],
) -> None:
    """What is stored is what is right by then; no renewal is lost."""
    pins = machine.published(SITE).pins
    requests.ask(machine.workflow, SITE, LATER)
    happens: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "the request is taken back": lambda: requests.take_back(machine.workflow, SITE, LATER),
        "the backup is dropped": lambda: offline_backups.drop(
            machine.workflow, SITE, pins[1], LATER
        ),
        "the key is known to be compromised": lambda: requests.note_revoked(
            machine.workflow, pins[1], LATER, compromised=True
        ),
        "a safe backup more is asked for": lambda: requests.ask(machine.workflow, SITE, LATER),
    }

    def once(order: int) -> None:
        if order == 1:
            happens[meanwhile]()

    assert renewed(once) == (pins[stored], [pins[number] for number in orders])


def test_g3_renewal_with_the_present_key_is_not_ordered_twice(
    machine: Machine, renewed: Callable[..., tuple[str, list[str]]]
) -> None:
    """A rollover that is asked for meanwhile is done at the next renewal."""
    live = machine.published(SITE).pins[0]
    asked = renewed(lambda order: requests.ask(machine.workflow, SITE, LATER))
    assert asked == (live, [live])


def test_g1_record_that_changes_at_every_order_stores_nothing(
    machine: Machine,
    renewed: Callable[..., tuple[str, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is an end to it, and it is told."""
    live = machine.published(SITE).pins[0]
    monkeypatch.setattr(Renewing, "is_still_chosen", lambda self, *_: False)

    def flips(order: int) -> None:
        if order % 2:
            requests.take_back(machine.workflow, SITE, LATER)
        else:
            requests.ask(machine.workflow, SITE, LATER)

    requests.ask(machine.workflow, SITE, LATER)
    with pytest.raises(errors.Error, match="certbot stored no new certificate"):
        renewed(flips)
    assert machine.look(SITE).pin == live


@pytest.mark.parametrize("expanded", [False, True], ids=["new", "expanded"])
def test_g2_record_of_the_keyring_of_its_hosts_is_looked_at_before_a_certificate_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expanded: bool
) -> None:
    """The keyring is found by the hosts that are asked for, under whatever name the certificate goes."""
    server = Server(tmp_path)
    server.pinned("a.test")
    if expanded:
        server.certify("other", "b.test", installer="null")
    stolen, issued = server.live_pin("a.test"), server_._issued

    def while_it_is_issued(age: int, refused: dict[str, str]) -> Callable[..., tuple[bytes, bytes]]:
        def obtained(self: object, csr: Any, orderr: object = None) -> tuple[bytes, bytes]:
            requests.note_revoked(
                Workflow(str(server.config), str(server.work)), stolen, server.now, compromised=True
            )
            return issued(age, refused)(self, csr, orderr)

        return obtained

    monkeypatch.setattr(server_, "_issued", while_it_is_issued)
    server.certify("other", "b.test", "a.test", more="--expand")
    assert server.live_pin("other") in {*server.state("a.test").keyring.published_pins()} - {stolen}
