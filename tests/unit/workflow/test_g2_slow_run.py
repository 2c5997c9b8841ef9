"""A run that takes its time: the earlier policy is served until Apache was reloaded (G2)."""

from __future__ import annotations

import ast
from datetime import timedelta
from pathlib import Path

import pytest

import certbot_pinkeep
from certbot_pinkeep.adapters import clock
from certbot_pinkeep.carriers import apache
from certbot_pinkeep.carriers.apache import Server
from certbot_pinkeep.core import times
from certbot_pinkeep.core.errors import NotSafe, TypeMissing
from certbot_pinkeep.core.kinds import KeyKind
from simulated.machine import Machine, Site
from simulated.values import DAY, NOW


def test_g2_one_clock_says_how_long_a_run_takes() -> None:
    """All others who read the clock keep time limits: no test of pins depends on a busy machine."""
    package = Path(certbot_pinkeep.__file__).parent
    reading = {
        str(path.relative_to(package)) for path in package.rglob("*.py") if _reads_clock(path)
    }
    assert reading == {
        "adapters/clock.py",
        "adapters/tls.py",
        "cli/check.py",
        "storage/catalogue.py",
    }


def _reads_clock(path: Path) -> bool:
    return any(
        isinstance(node, (ast.Import, ast.ImportFrom))
        and "time" in {getattr(node, "module", None), *(name.name for name in node.names)}
        for node in ast.walk(ast.parse(path.read_text()))
    )


@pytest.mark.parametrize("slow", ["publish", "reload"])
def test_g2_policy_is_replaced_when_the_run_comes_to_the_reload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    """However long test and reload take: who came at the last moment is not locked out."""
    site = Site(tmp_path)
    site.keep(site.options(backup_keys=1))
    ticks = [1000.0]
    real = getattr(apache, slow)

    def slowly(server: Server, *others: object) -> object:
        ticks[0] += 50
        return real(server, *others)

    monkeypatch.setattr(clock, "seconds", lambda: ticks[0])
    monkeypatch.setattr(apache, slow, slowly)
    site.issue(site.key_pem(site.published().pins[1]))
    at = NOW + 10 * DAY
    site.keep(site.options(backup_keys=1), at)
    replaced = [entry.replaced for entry in site.state().ledger.entries if entry.replaced]
    assert replaced == [at + timedelta(seconds=50)]
    safe = at + timedelta(seconds=50) + 60 * DAY
    given = (site.look(), site.name, site.names)
    with pytest.raises(NotSafe):
        site.workflow.handover(*given, safe - timedelta(seconds=1), asked=True)
    assert site.workflow.handover(*given, safe, asked=True).pin == site.published().pins[1]


def test_keys_of_another_type_that_were_pinned_slowly_are_safe_when_max_age_ran_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is named, however long the publication took: the clock was not set back."""
    machine = Machine(tmp_path)
    reading = [1000.0]
    real = apache.reload

    def slowly(server: Server) -> object:
        reading[0] += 50
        return real(server)

    machine.issue("a.test")
    machine.keep("a.test", "a.test")
    monkeypatch.setattr(clock, "seconds", lambda: reading[0])
    monkeypatch.setattr(apache, "reload", slowly)
    with pytest.raises(TypeMissing) as refused:
        machine.new("rsa", "a.test", NOW + DAY, "rsa", KeyKind("rsa", "2048"), ("a.test",))
    safe = NOW + DAY + timedelta(seconds=50) + 60 * DAY
    assert f"safe from {times.text(safe)}" in str(refused.value)


def test_g8_run_of_parts_of_a_second_is_not_ahead_of_the_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next run begins in the second in which this one ended."""
    monkeypatch.setattr(clock, "seconds", lambda: 1000.9)
    assert clock.after(NOW, 999.2) == NOW + timedelta(seconds=1)
