"""What a run says of a certificate that was renewed while something else is wrong (G12, G10)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from simulated.server import Server

FORCED = "certbot renew --force-renewal -i pinkeep"
DONE = "a.test was renewed. Its new certificate is stored"


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """A certificate that is pinned."""
    found = Server(tmp_path)
    found.pinned()
    return found


@pytest.mark.parametrize(
    "line",
    [
        "pinkeep-max-age = 1 day",
        "pinkeep-keyring = ../x",
        'pinkeep-keyring = ""',
        "pinkeep-report-uri = htps://x.test/",
        "pinkeep-snippet-dir = /there/is/no/such/folder",
    ],
)
def test_g10_bad_option_counts_no_more_once_it_is_mended(server: Server, line: str) -> None:
    """Certbot notes it at a renewal. The run says once what is wrong, and does not let it stay there."""
    server.cli_ini.append(line)
    said = server.run(FORCED)
    value = line.partition(" = ")[2].strip('"')
    assert said.code == 1 and said.text.count(f" {value!r}: ") == 1, said.text
    assert f"{DONE} and loaded. --pinkeep-" in said.text
    assert f"= {value}\n" not in server.renewal().read_text()
    server.cli_ini.pop()
    said = server.run("certbot renew")
    assert said.code == 0, said.text
    server.sound()


def test_g12_certificate_that_is_not_loaded_is_told_of(server: Server) -> None:
    """Apache refuses its configuration."""
    server.broken.touch()
    assert f"{DONE}, but not loaded. " in server.run(FORCED).text


def test_g12_nothing_is_said_of_a_renewal_that_was_not_due(server: Server) -> None:
    """Only what is wrong."""
    server.cli_ini.append("pinkeep-max-age = 1 day")
    said = server.run("certbot renew -i pinkeep")
    assert said.code == 1 and "was renewed" not in said.text


def test_g12_certificate_is_loaded_though_the_snippet_is_a_strangers(server: Server) -> None:
    """The snippet is not written, as that user could go on writing it."""
    for path in (server.snippet().parent, server.snippet()):
        os.chown(path, 12345, -1)
    before = server.snippet().read_text()
    said = server.run(f"{FORCED} --pinkeep-max-age 600")
    assert said.code == 1 and f"{DONE} and loaded. Other users can change " in said.text
    assert f"Run: chown -h {os.geteuid()} {server.snippet().parent} {server.snippet()}" in said.text
    assert server.snippet().read_text() == before
