"""What is promised of "the next renewal" looks at who renews each certificate (G2, G11)."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_pinkeep.adapters import clock
from certbot_pinkeep.cli import main
from certbot_pinkeep.workflow import requests
from simulated.machine import Machine
from simulated.values import DAY, NOW

SITE = "pin.test"
OURS = "installer = pinkeep"
HELPS = f"certbot renew --cert-name {SITE} --force-renewal"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A pinned lineage, a day later."""
    found = Machine(tmp_path)
    found.issue(SITE)
    found.keep(SITE, SITE)
    monkeypatch.setattr(clock, "now", lambda: NOW + DAY)
    return found


def renewed_with(machine: Machine, line: str) -> None:
    """What the renewal file says of it."""
    path = machine.renewal(SITE)
    path.write_text(path.read_text().replace(OURS, line))


def run(machine: Machine, *words: str) -> int:
    """The command on this machine."""
    folders = ["--config-dir", str(machine.config), "--work-dir", str(machine.work)]
    logs = ["--logs-dir", str(machine.config.parent / "logs")]
    return main.main([*words, *folders, *logs])


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (OURS, ""),
        ("installer = apache", ""),
        ("", ""),
        (f"{OURS}\nautorenew = False", "autorenew = False"),
    ],
)
@pytest.mark.parametrize(
    "words",
    [
        ("rollover", SITE),
        ("rollover", SITE, "--force"),
        ("rollover", SITE, "--compromised"),
        ("status", SITE),
    ],
    ids=" ".join,
)
def test_promise_of_a_rollover_says_what_makes_it_happen(
    machine: Machine,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    line: str,
    named: str,
) -> None:
    """If 'certbot renew' does not roll a certificate over, the command that does is named."""
    requests.ask(machine.workflow, SITE, NOW + DAY)
    renewed_with(machine, line)
    assert run(machine, *words) == 0
    told = capsys.readouterr().out
    assert (f"because of '{named}'" in told) == bool(named)
    assert (HELPS in told) == bool(named)
    assert "The next renewal rolls" in told


def test_revocation_and_what_is_taken_back_say_it_as_well(machine: Machine) -> None:
    """Each promise comes from one place."""
    renewed_with(machine, f"{OURS}\nautorenew = False")
    pin = machine.look(SITE).pin
    assert HELPS in " ".join(
        requests.note_revoked(machine.workflow, pin, NOW + DAY, compromised=False)
    )
    assert HELPS in requests.take_back(machine.workflow, SITE, NOW + DAY)


def test_status_says_it_though_nothing_is_due(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """A date from which a rollover is due is a promise, too."""
    renewed_with(machine, f"{OURS}\nautorenew = False")
    assert run(machine, "status", SITE) == 0
    assert HELPS in capsys.readouterr().out
