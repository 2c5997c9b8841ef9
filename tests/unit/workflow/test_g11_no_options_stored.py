"""No option of pinkeep stays in certbot's renewal files (G11), with a real certbot.

A certbot without the plugin stops, or skips the certificate, if it finds one there.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from certbot_pinkeep.workflow.run import Run
from simulated.server import Server

STORED = "pinkeep_max_age = 3600\npinkeep_backup_keys = 1\npinkeep_keyring = ring\n"


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """A server with a certificate on the keyring ``ring``."""
    found = Server(tmp_path)
    found.pinned(more="--pinkeep-keyring ring")
    return found


def stored(server: Server, name: str = "a.test") -> list[str]:
    """The lines of a renewal file that are pinkeep's options."""
    return [line for line in server.renewal(name).read_text().splitlines() if "pinkeep_" in line]


def renewed_for(server: Server) -> tuple[int, int]:
    """A renewal that was due: the max-age that is sent then, and how many pins."""
    server.wait(70)
    server.age = 70
    said = server.run("certbot renew --force-renewal")
    assert said.code == 0, said.text
    policy = server.sent("ring")
    assert policy is not None
    return policy.max_age, len(policy.pins)


@pytest.mark.parametrize(
    "line",
    [
        "certbot certonly --cert-name a.test -d a.test --force-renewal -i pinkeep --pinkeep-max-age 60",
        "certbot renew --force-renewal -i pinkeep --pinkeep-max-age 60 --pinkeep-report-only",
        "certbot install --cert-name a.test -i pinkeep --pinkeep-max-age 60",
        "certbot certonly --cert-name b.test -d b.test -i null --pinkeep-max-age 60",
    ],
)
def test_g11_certbot_stores_no_option(server: Server, line: str) -> None:
    """Neither those that are given nor those of cli.ini, whoever installs; the keyring keeps them."""
    assert server.run(line).code == 0
    for name in server.config.glob("renewal/*.conf"):
        assert stored(server, name.stem) == []
    kept = None if "-i null" in line else "60"
    assert server.state("ring").settings.get("max-age") == kept


def test_g11_options_of_earlier_versions_are_taken_over(server: Server) -> None:
    """At a renewal, which writes them once more, and if nothing is due; they do not come back."""
    for due in (False, True):
        with server.renewal().open("a") as file:
            file.write(STORED)
        before = server.renewal().read_text().replace(STORED, "")
        if due:
            assert renewed_for(server) == (3600, 2)
        else:
            assert server.run("certbot renew").code == 0
            assert server.renewal().read_text() == before
        assert stored(server) == []
        assert server.run("certbot renew -i pinkeep --pinkeep-max-age 60").code == 0
    assert renewed_for(server) == (60, 2)


def test_g11_run_that_is_killed_leaves_the_rest_to_the_next(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once certbot has stored what was issued: nothing of 0.1 is lost, and nothing stays."""
    with server.renewal().open("a") as file:
        file.write(STORED)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "enrol", lambda *_, **__: os._exit(9))
        assert server.run("certbot renew --force-renewal").code == 9
    assert server.run("certbot renew").code == 0
    assert stored(server) == []
    assert server.state("ring").settings["max-age"] == "3600"


def test_new_keyring_takes_over_the_options_of_the_lineage_that_moves(server: Server) -> None:
    """A keyring that is renamed stays as the admin set it; what is given anew counts first."""
    line = "certbot renew -i pinkeep"
    assert server.run(f"{line} --pinkeep-max-age 60 --pinkeep-backup-keys 1").code == 0
    said = server.run(f"{line} --pinkeep-keyring renamed --pinkeep-max-age 90")
    assert said.code == 0, said.text
    kept = server.state("renamed").settings
    assert (kept["max-age"], kept["backup-keys"]) == ("90", "1")
