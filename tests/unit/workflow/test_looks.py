"""All looks of a run together have a time limit, and no keyring takes it from another one (G3)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from certbot_pinkeep.adapters import clock
from certbot_pinkeep.core.errors import PinkeepError, ZoneRefused
from certbot_pinkeep.core.tlsa import Port
from certbot_pinkeep.core.zone_observations import OwnerObservation, PortObservation
from certbot_pinkeep.workflow import looks
from certbot_pinkeep.workflow.looks import Eyes, Looks

FIRST, SECOND = (Port("a.example.com", 25, "smtp"),), (Port("b.example.com", 25, "smtp"),)


class Seen:
    """Eyes that count what they are asked for; they see only if so many looks are under way at a time."""

    def __init__(self, together: int = 1) -> None:
        self.asked: list[Sequence[Port]] = []
        self._together = threading.Barrier(together)

    def eyes(self) -> Eyes:
        """What a run looks with."""
        return Eyes(self.records, self.services, lambda path: self, sleep=lambda _: None)

    def records(self, ports: Sequence[Port]) -> list[OwnerObservation]:
        """A look at records."""
        self.asked.append(ports)
        self._together.wait(10)
        return [OwnerObservation(one, one.owner) for one in ports]

    def services(self, ports: Sequence[Port]) -> list[PortObservation]:
        """A look at ports."""
        self._together.wait(10)
        return [PortObservation(one, "192.0.2.25") for one in ports]


def test_g3_keyrings_are_looked_at_side_by_side_and_once() -> None:
    """A dead zone takes no time from the others; what was seen ahead is not looked at again."""
    seen = Seen(together=4)
    run = Looks(seen.eyes)
    run.ahead([(FIRST, FIRST), (SECOND, SECOND)])
    for ports in (FIRST, SECOND):
        assert not run.records(ports)[0].error and not run.services(ports)[0].error
    assert len(seen.asked) == 2


def test_g3_one_time_limit_holds_for_all_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    """After it nobody is asked, and the error names the command that looks again."""
    seen = Seen()
    monkeypatch.setattr(clock, "seconds", lambda: 0.0)
    run = Looks(seen.eyes)
    run.check_time("ring")
    monkeypatch.setattr(clock, "seconds", lambda: looks.LIMIT)
    with pytest.raises(PinkeepError, match=r"the keyring ring.*\nRun: certbot-pinkeep dns ring"):
        run.check_time("ring")
    assert run.records(FIRST)[0].error and run.services(FIRST)[0].error and not seen.asked
    with pytest.raises(ZoneRefused, match="was not asked"):
        run.in_time("example.com.", lambda: pytest.fail("it was asked"))


def test_credentials_are_read_once_in_a_run() -> None:
    """So a warning about their file is told once."""
    seen = Seen()
    read: list[str] = []
    run = Looks(lambda: replace(seen.eyes(), provider=read.append))
    for _ in range(2):
        run.provider("zone.ini")
    assert read == ["zone.ini"]


def test_g3_provider_that_never_comes_to_an_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it sends meanwhile."""
    monkeypatch.setattr(looks, "_ANSWER", 0.05)
    with pytest.raises(ZoneRefused, match="did not answer within"):
        Looks(Seen().eyes).in_time("example.com.", lambda: threading.Event().wait(10))
