"""A keyring for apps and zones only (``--pinkeep-header none``), on a machine without any web server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from certbot_pinkeep.check import check
from certbot_pinkeep.core.observations import HttpObservation, Target, TlsObservation
from simulated.seen import HOST, LIVE_DER, OLD_DER, STRANGE_DER, parsed, sound
from simulated.server import Server
from simulated.values import NOW, certificate, make_pem

NAME = "a.test"
#: What a look at a host comes to on a machine without a web server, and with something else there.
ELSEWHERE = parsed(certificate(make_pem(), ["mail.test"]))[0]


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """A machine without a web server: nothing answers, and no command reloads anything."""
    found = Server(tmp_path)
    found.cli_ini = [line for line in found.cli_ini if "pinkeep" not in line]
    vars(found)["_look"] = nobody
    found.certify(NAME, installer="none")
    assert found.run(f"certbot-pinkeep pin {NAME} --header none").code == 0
    return found


def nobody(
    targets: list[Target], way: object
) -> tuple[list[TlsObservation], list[HttpObservation]]:
    """Nobody answers."""
    return [TlsObservation(one.name, stopped="unreachable", error="no") for one in targets], []


def test_machine_without_a_web_server_is_sound_from_the_first_minute(server: Server) -> None:
    """Nothing is pending, and nothing is to be confirmed, reloaded or included."""
    server.sound()
    status = server.run("certbot-pinkeep status").out
    assert "Published: none, no server sends a header" in status
    assert not any(word in status for word in ("Pending", "Apache", "max-age"))
    assert "nothing pending" in server.run(f"certbot-pinkeep confirm {NAME}").out


def test_apps_are_served_and_never_locked_out(server: Server) -> None:
    """Exports and releases work, a rollover waits for none but the releases, and nothing else."""
    assert "SPKI-SHA256" in server.run(f"certbot-pinkeep export {NAME} --format ios").out
    add = f"certbot-pinkeep release {NAME} add --channel ios --label 1 --until 2028-01-01"
    assert server.run(add).code == 0
    for rollovers in range(2):  # to each of the two backups that the app carries
        assert server.run(f"certbot-pinkeep rollover {NAME}").code == 0, rollovers
        assert server.run("certbot renew --force-renewal").code == 0
        server.sound()
    refused = server.run(f"certbot-pinkeep rollover {NAME}")
    assert refused.code == 1 and "the release ios 1" in refused.err
    server.sound()


@pytest.mark.parametrize(
    "line",
    [
        "certbot certonly -d a.test -d b.test --cert-name a.test --expand",
        "certbot certonly -d a.test --cert-name a.test --new-key --force-renewal",
        "certbot renew --force-renewal --key-type rsa",
    ],
)
def test_g11_guard_protects_keyrings_without_a_header(server: Server, line: str) -> None:
    """As it does others: the certificate has a key that was pinned before."""
    pins = set(server.state(NAME).ledger.entries[-1].pins)
    assert server.run(line).code == 0
    live = server.state(NAME).keyring.members[0].pin
    assert live in pins
    server.sound()


@pytest.mark.parametrize("form", ["header", "nginx"])
def test_header_of_a_keyring_without_one_is_not_exported(server: Server, form: str) -> None:
    """Nothing records until when clients would hold it; with the command it is exported."""
    refused = server.run(f"certbot-pinkeep export {NAME} --format {form}")
    assert refused.code == 1 and "no header to export" in refused.err
    [command] = refused.commands
    assert command == f"certbot-pinkeep pin {NAME} --header apache"
    assert server.run(command).code == 0
    assert server.run(f"certbot-pinkeep export {NAME} --format {form}").code == 0


def test_leaving_says_nothing_of_a_header(server: Server) -> None:
    """Nobody sends max-age=0; the releases tell until when it takes."""
    add = f"certbot-pinkeep release {NAME} add --channel ios --label 1 --until 2028-01-01"
    assert server.run(add).code == 0
    said = server.run(f"certbot-pinkeep unpin {NAME}").out
    assert "max-age=0" not in said and "until 2028-01-02T00:00:00Z at the latest" in said
    server.sound()


SHOWN: dict[str, tuple[TlsObservation, str]] = {
    "nobody": (TlsObservation(HOST, stopped="unreachable", error="no"), ""),
    "no TLS": (TlsObservation(HOST, stopped="tls", error="no"), ""),
    "another site": (TlsObservation(HOST, ELSEWHERE), ""),
    "a damaged certificate": (TlsObservation(HOST, b"x"), ""),
    "the live one, of an own CA": (TlsObservation(HOST, LIVE_DER, untrusted="self-signed"), ""),
    "the one of before": (TlsObservation(HOST, OLD_DER), "it does not serve the live certificate"),
    "a strange key": (TlsObservation(HOST, STRANGE_DER), "which is not among the pins"),
}


@pytest.mark.parametrize("which", SHOWN)
def test_what_is_served_all_the_same_has_a_pinned_key(which: str) -> None:
    """Apps meet it. Whatever is not for the host is not the keyring's."""
    shown, told = SHOWN[which]
    state = replace(sound().state, settings={"header": "none"}, snippet="")
    seen = sound(shown=(shown,), state=state, snippet=None)
    assert [told in one.what for one in check(seen, NOW)] == [True] * bool(told)
