"""An Apache without mod_headers sends no pins, and its configuration test passes all the same (G12, G13)."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_pinkeep.carriers import running
from simulated.server import Server

LACKS = "Apache has not loaded mod_headers, so Apache does not send the header in "


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """An Apache that tells which modules it has loaded; mod_headers is off."""
    found = Server(tmp_path)
    modules = tmp_path / "modules"
    modules.write_text("Loaded Modules:\n ssl_module (shared)\n")
    test = found._script("test-of-apache", f'[ "$1" != -M ] || cat {modules}')
    found.cli_ini[-1] = f"pinkeep-configtest-command = {test} -t"
    found.certify("a.test")
    return found


def test_g13_each_run_says_that_no_pins_are_sent(server: Server) -> None:
    """And status does not say that they are live, until mod_headers is loaded."""
    for line in ("certbot renew", "certbot renew --force-renewal", "certbot renew"):
        said = server.run(line)
        assert said.code == 0 and said.text.count(LACKS) == 1, said.text
        assert "has not reloaded" not in said.text
    status = server.run("certbot-pinkeep status").text
    assert "'certbot-pinkeep setup' enables it" in server.run("certbot-pinkeep check").text
    assert "Published: pending" in status and f"Pending:   {LACKS}" in status
    (server.root / "modules").write_text(" headers_module (shared)\n")
    assert LACKS not in server.run("certbot renew").text
    assert "Published: live" in server.run("certbot-pinkeep status").text


def test_g12_certificate_is_loaded_without_mod_headers(server: Server) -> None:
    """Once: the nights after reload nothing."""
    before = server.loaded.stat().st_mtime_ns
    server.run("certbot renew --force-renewal")
    renewed = server.loaded.stat().st_mtime_ns
    server.run("certbot renew")
    assert renewed == server.loaded.stat().st_mtime_ns != before


def test_status_says_that_apache_is_to_be_started(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No run of certbot loads anything into it before."""
    monkeypatch.setattr(running, "is_stopped", lambda words: True)
    status = server.run("certbot-pinkeep status").text
    assert (
        "Pending:   Apache does not run. Start Apache: it loads the pins when it starts." in status
    )
