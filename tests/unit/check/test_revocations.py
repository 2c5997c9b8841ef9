"""A certificate that the CA has revoked: asked about once a day, told each time, and renewed."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from certbot_pinkeep.adapters import revocation
from certbot_pinkeep.adapters.revocation import Answer
from certbot_pinkeep.check import check
from certbot_pinkeep.check.findings import Severity
from certbot_pinkeep.check.revocations import Revocations
from certbot_pinkeep.storage import atomic
from simulated.seen import HOST, lineage, sound
from simulated.server import Server
from simulated.values import DAY, HOUR, NOW

REVOKED, GOOD, NO_ANSWER = Answer(True, "keyCompromise"), Answer(False), Answer(None, why="late")
SECOND = timedelta(seconds=1)


class Ca:
    """A CA that says what it is told to, and counts the questions."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.work = folder / "work"
        self.work.mkdir()
        self.answer = GOOD
        self.asked = 0
        self.now = NOW
        monkeypatch.setattr(revocation, "names_crl", lambda pem: bool(pem))
        monkeypatch.setattr(revocation, "look", self._look)
        self.cert = folder / "cert.pem"
        self.cert.write_text("a certificate")

    def _look(self, *words: Any) -> Answer:
        self.asked += 1
        return self.answer

    def reason(self, fingerprint: str = "f", at: datetime = NOW, limit: float = 9) -> str:
        """What a run of the check finds."""
        return Revocations(str(self.work), at, limit).reason(fingerprint, str(self.cert))


@pytest.fixture
def ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ca:
    """A CA."""
    return Ca(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("answer", "again"),
    [(GOOD, DAY), (NO_ANSWER, HOUR), (REVOKED, None)],
    ids=["good", "none", "revoked"],
)
def test_ca_is_asked_again_when_its_answer_is_old(
    ca: Ca, answer: Answer, again: timedelta | None
) -> None:
    """After a day; an hour after a question without an answer; never, once it is revoked."""
    ca.answer = answer
    later = NOW + (again or 99 * DAY)
    assert {ca.reason(at=at) for at in (NOW, NOW + SECOND, later - SECOND)} == {answer.reason}
    assert ca.asked == 1
    assert ca.reason(at=later) == answer.reason
    assert ca.asked == (2 if again else 1)


def test_ca_is_asked_for_each_certificate(ca: Ca) -> None:
    """What holds for the certificate of before says nothing of the next one."""
    ca.answer = REVOKED
    assert ca.reason("old") == "keyCompromise"
    ca.answer = GOOD
    assert ca.reason("new") == "" and ca.reason("old") == "keyCompromise"


def test_ca_is_not_asked_if_that_cannot_be_noted(ca: Ca, monkeypatch: pytest.MonkeyPatch) -> None:
    """A monitoring that runs each minute as somebody else would ask each minute."""

    def full(*words: Any, **more: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "replace", full)
    assert ca.reason() == "" and ca.asked == 0


def test_ca_is_not_asked_when_the_time_is_over(ca: Ca, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run asks."""
    assert ca.reason(limit=0) == "" and ca.asked == 0
    assert ca.reason() == "" and ca.asked == 1


def test_nothing_is_noted_of_a_certificate_that_names_no_crl(ca: Ca) -> None:
    """Nobody can be asked."""
    ca.cert.write_text("")
    assert ca.reason() == "" and ca.asked == 0 and not list(ca.work.iterdir())


def test_ca_is_asked_again_after_the_clock_was_set_back(ca: Ca) -> None:
    """An answer of the future does not count."""
    ca.reason(at=NOW + 9 * DAY)
    ca.reason(at=NOW)
    assert ca.asked == 2


def test_revoked_certificate_is_critical() -> None:
    """With the reason, and the command that renews it."""
    [found] = check(sound(**lineage(revoked="superseded")), NOW)
    assert (found.severity, found.where) == (Severity.CRITICAL, HOST)
    assert "the CA has revoked its certificate (superseded)" in found.what
    assert found.todo == f"Run: certbot renew --cert-name {HOST} --force-renewal"


@pytest.mark.parametrize("reason", ["superseded", "keyCompromise"])
def test_command_that_check_names_for_a_revoked_certificate_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    """It is renewed, and all is sound; after keyCompromise with another key."""
    server = Server(tmp_path)
    server.pinned()
    first = (server.live() / "cert.pem").read_bytes()
    pin = server.served_pin("a.test")
    monkeypatch.setattr(revocation, "names_crl", lambda pem: True)
    monkeypatch.setattr(
        revocation, "look", lambda pem, *_: Answer(True, reason) if pem == first else GOOD
    )
    server.wait(2)
    said = server.run("certbot-pinkeep check")
    assert said.code == 2 and f"the CA has revoked its certificate ({reason})" in said.out
    [command] = said.commands
    assert command == "certbot renew --cert-name a.test --force-renewal"
    assert server.run(command).code == 0
    server.sound()
    assert server.served_pin("a.test") != pin
