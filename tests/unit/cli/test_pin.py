"""``certbot-pinkeep pin``: certificates are pinned at once, also for a key that clients pin already."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from certbot_pinkeep.adapters import clock, probe, renewal_conf
from certbot_pinkeep.carriers import layout, reading, running, servers
from certbot_pinkeep.cli import main
from certbot_pinkeep.core import rollover, times
from certbot_pinkeep.core.errors import BadKey
from certbot_pinkeep.core.header import Header, write_header
from certbot_pinkeep.core.kinds import KeyKind
from certbot_pinkeep.core.observations import TlsObservation
from certbot_pinkeep.core.pem import load_certificate
from certbot_pinkeep.core.policy import ENFORCED
from certbot_pinkeep.core.server_config import ServerConfig
from certbot_pinkeep.workflow import requests
from simulated.machine import RSA_KEY, Machine
from simulated.values import (
    DAY,
    HOUR,
    NOW,
    certificate,
    csr_pem,
    encrypted,
    make_pem,
    mode_of,
    pin_of_key,
    tree,
)

NAME = "www.pin.test"
Said = pytest.CaptureFixture[str]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A certificate that is not pinned."""
    monkeypatch.setattr(clock, "now", lambda: NOW)
    found = Machine(tmp_path)
    found.issue(NAME)
    renewed_by(found, "None")
    return found


def renewed_by(site: Machine, installer_: str, name: str = NAME) -> None:
    """Have a lineage renewed by an installer."""
    path = site.renewal(name)
    path.write_text(path.read_text().replace("installer = pinkeep", f"installer = {installer_}"))


def call(site: Machine, capsys: Said, *words: str) -> tuple[int, str, str]:
    """The exit code of ``pin``, and what is said."""
    commands = ["--configtest-command", ""]
    if "--reload-command" not in words:
        commands += ["--reload-command", site.apache.reload[0]]
    folders = ["--config-dir", str(site.config), "--work-dir", str(site.work)]
    folders += ["--logs-dir", str(site.work)]
    capsys.readouterr()
    code = main.main(["pin", *words, *commands, *folders])
    out, err = capsys.readouterr()
    return code, " ".join(out.split()), err


def refused(site: Machine, capsys: Said, *words: str) -> str:
    """Return what is said if nothing is done: nothing has changed then, and that is said once."""
    before = tree(site.config, site.work)
    code, out, err = call(site, capsys, *words)
    assert (code, out) == (1, "") and err.count("Nothing was changed.") == 1
    assert tree(site.config, site.work) == before
    return err


def key_file(folder: Path, pem: bytes) -> str:
    """A file with a private key."""
    path = folder / "old.key"
    path.write_bytes(pem)
    return str(path)


def test_certificate_is_pinned_at_once(site: Machine, capsys: Said) -> None:
    """Published and loaded as by the plugin; certbot renews it with pinned keys from now on."""
    code, out, err = call(site, capsys, NAME, "--max-age", "60", "--backup-keys", "1")
    assert (code, err) == (0, "") and f"Certbot renews {NAME} with pinned keys" in out
    policy = site.published(NAME)
    assert policy.max_age == 60 and len(policy.pins) == 2 and site.apache.reloads == 1
    renewal = renewal_conf.load(str(site.config), NAME)
    assert renewal is not None and renewal.reuse_key
    assert renewal.options == {} and site.state(NAME).settings["max-age"] == "60"


SET_UP, NOT_SET_UP = True, False


@pytest.mark.parametrize(
    ("shows", "set_up", "told"),
    [
        (
            "pins",
            NOT_SET_UP,
            f"{NAME} sends these pins now. A client that comes now holds them until ",
        ),
        ("pins later", SET_UP, f"{NAME} sends these pins now."),
        (
            "nothing",
            NOT_SET_UP,
            f"yet for {NAME}. setup has not prepared Apache. Run: certbot-pinkeep setup",
        ),
        (
            "nothing",
            SET_UP,
            f"Apache does not send these pins yet for {NAME}. Run: certbot-pinkeep check",
        ),
        ("other pins", SET_UP, f"Apache does not send these pins yet for {NAME}."),
        ("unreachable", SET_UP, f"could not see what {NAME} sends. Run: certbot-pinkeep check"),
    ],
)
def test_pin_ends_with_what_is_served_and_what_to_know_next(
    site: Machine,
    capsys: Said,
    monkeypatch: pytest.MonkeyPatch,
    shows: str,
    set_up: bool,
    told: str,
) -> None:
    """A server that was just reloaded needs a moment; a machine that was not set up names the command."""
    looks: list[str] = []

    def glance(names: Sequence[str], connect: object = None) -> list[TlsObservation]:
        looks.append(shows)
        headers: tuple[tuple[str, str], ...] = ()
        if shows == "pins" or len(looks) > 3:
            value = site.published(NAME).header_value if site.snippet(NAME).exists() else ""
            headers = (("public-key-pins", value),) if shows.startswith("pins") and value else ()
        if shows == "other pins":
            value = write_header(Header((pin_of_key(make_pem()), pin_of_key(make_pem())), 60))
            headers = (("public-key-pins", value),)
        if shows == "unreachable":
            return [TlsObservation(name, stopped="unreachable", error="nobody") for name in names]
        return [TlsObservation(name, certificate=b"of somebody", headers=headers) for name in names]

    monkeypatch.setattr(probe, "glance", glance)
    monkeypatch.setattr(layout, "is_set_up", lambda kind, config_dir: set_up)
    code, out, _ = call(site, capsys, NAME, "--max-age", "86400")
    assert code == 0 and told in out
    if shows.startswith("pins"):
        assert f"until {times.text(NOW + DAY)}." in out
    for one in ("tar -C", "certbot-pinkeep check", f"certbot-pinkeep unpin {NAME}"):
        assert one in out.partition("Next steps:")[2]


def test_pin_tells_of_another_server_that_runs(
    site: Machine, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That server may serve the host. By the commands that they gave, admins know their server."""
    monkeypatch.setattr(servers, "running_beside", lambda name: [servers.NGINX])
    _, out, _ = call(site, capsys, NAME)
    assert "nginx runs" not in out
    monkeypatch.setattr(running, "is_stopped", lambda words: True)
    monkeypatch.setattr(servers.Kind, "default", lambda kind, action: ("/bin/true", *action))
    folders = ["--config-dir", str(site.config), "--work-dir", str(site.work)]
    folders += ["--logs-dir", str(site.work)]
    site.issue("b.pin.test")
    capsys.readouterr()
    code = main.main(["pin", "b.pin.test", "--configtest-command", "", *folders])
    out = " ".join(capsys.readouterr().out.split())
    assert code == 0 and "nginx runs on this machine, too." in out
    assert "Run: certbot-pinkeep pin b.pin.test --header nginx" in out


def test_pin_names_confirm_if_the_admin_reloads(site: Machine, capsys: Said) -> None:
    """Until then the pins are pending."""
    code, out, err = call(site, capsys, NAME, "--reload-command", "")
    assert (code, err) == (0, "")
    assert f"Reload Apache yourself, and record that. Run: certbot-pinkeep confirm {NAME}" in out


def test_pin_names_the_choice_of_a_machine_without_a_web_server(
    site: Machine, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mail server's admin has no Apache to reload."""
    monkeypatch.setattr(layout, "is_here", lambda kind: False)
    code, out, _ = call(site, capsys, NAME, "--reload-command", "")
    assert code == 0 and f"Run: certbot-pinkeep pin {NAME} --header none" in out
    monkeypatch.undo()
    monkeypatch.setattr(layout, "is_here", lambda kind: True)
    code, out, _ = call(site, capsys, NAME, "--reload-command", "", "--max-age", "600")
    assert code == 0 and "--header none" not in out


def test_pin_tells_why_the_server_does_not_send_the_pins(
    site: Machine, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As check does, by the server's configuration."""
    monkeypatch.setattr(
        reading, "read", lambda server: ServerConfig(("/etc/apache2/apache2.conf",))
    )
    code, out, _ = call(site, capsys, NAME)
    assert code == 0 and f"Apache does not include {site.snippet(NAME)}" in out
    assert "Run: certbot-pinkeep setup Next steps:" in out


def test_several_certificates_share_a_keyring(site: Machine, capsys: Said) -> None:
    """With one reload."""
    site.issue("api.pin.test")
    code, _, _ = call(site, capsys, NAME, "api.pin.test", "--keyring", "both")
    assert code == 0 and site.apache.reloads == 1
    assert set(site.members("both")) == {NAME, "api.pin.test"}


def test_g9_another_installer_stays(site: Machine, capsys: Said) -> None:
    """It keeps the key; no option of pinkeep's stands in the renewal file, and the keyring has them."""
    renewed_by(site, "apache")
    path = site.renewal(NAME)
    path.write_text(path.read_text().replace("installer = None", "installer = apache"))
    code, out, _ = call(site, capsys, NAME, "--max-age", "60")
    assert code == 0 and "The installer apache stays." in out
    assert "pinkeep_" not in path.read_text()
    renewal = renewal_conf.load(str(site.config), NAME)
    assert renewal is not None and renewal.reuse_key and renewal.installer == "apache"
    assert site.published(NAME).max_age == 60
    call(site, capsys, NAME)
    assert site.published(NAME).max_age == 60


def test_g2_key_that_clients_pin_is_what_the_next_renewal_is_for(
    site: Machine, capsys: Said, tmp_path: Path
) -> None:
    """Both keys are pinned; then the certificate is renewed for the one that clients know."""
    old = make_pem()
    live = site.look(NAME).pin
    code, out, err = call(site, capsys, NAME, "--key", key_file(tmp_path, old))
    assert (code, err) == (0, "")
    assert f"certbot renew --cert-name {NAME} --force-renewal" in out
    pin = pin_of_key(old)
    assert {live, pin} < set(site.published(NAME).pins) and len(site.published(NAME).pins) == 4
    saved = site.workflow.folders.find_key(pin)
    assert saved is not None and mode_of(site.config / saved.path) == 0o600
    assert site.renew(NAME, NAME, NOW + HOUR) == pin
    assert site.role(NAME, pin) == "primary" and site.role(NAME, live) == "retired"
    # Again, it is there already.
    code, out, _ = call(site, capsys, NAME, "--key", str(tmp_path / "old.key"))
    assert code == 0 and "is live already" in out and site.role(NAME, pin) == "primary"


def test_g2_key_that_later_visitors_do_not_know_waits(
    site: Machine, capsys: Said, tmp_path: Path
) -> None:
    """If pins without it are out, the certificate keeps its key until they have run out."""
    site.keep(NAME, NAME)
    live = site.look(NAME).pin
    old = make_pem()
    code, out, _ = call(site, capsys, NAME, "--key", key_file(tmp_path, old))
    assert code == 0 and "clients may hold pins without it until 2026-04-30" in out
    assert site.renew(NAME, NAME, NOW + 59 * DAY) == live
    assert site.renew(NAME, NAME, NOW + 61 * DAY) == pin_of_key(old)


def test_g2_key_of_a_backup_is_taken_before_its_turn(
    site: Machine, capsys: Said, tmp_path: Path
) -> None:
    """A key that the keyring has is not pinned twice."""
    site.keep(NAME, NAME)
    last = site.published(NAME).pins[-1]
    found = site.workflow.folders.find_key(last)
    assert found is not None
    code, _, _ = call(site, capsys, NAME, "--key", key_file(tmp_path, found.pem))
    assert code == 0 and site.role(NAME, last) == "primary"
    assert site.renew(NAME, NAME, NOW + HOUR) == last


def test_g8_key_that_is_compromised_is_not_pinned_again(
    site: Machine, capsys: Said, tmp_path: Path
) -> None:
    """Whichever keyring knows of it."""
    site.issue("other.test")
    site.keep("other.test", "other.test")
    other = site.look("other.test")
    requests.note_revoked(site.workflow, other.pin, NOW, compromised=True)
    path = key_file(tmp_path, other.key_pem())
    assert "is compromised, and pinkeep never uses it again" in refused(
        site, capsys, NAME, "--key", path
    )


def test_keyring_that_leaves_pinning_names_the_command(site: Machine, capsys: Said) -> None:
    """It works as it is told."""
    site.keep(NAME, NAME)
    requests.unpin(site.workflow, NAME, NOW)
    assert f"certbot-pinkeep unpin {NAME} --undo" in refused(site, capsys, NAME)
    requests.unpin(site.workflow, NAME, NOW, undo=True)
    assert call(site, capsys, NAME)[0] == 0


def _encrypted(folder: Path) -> str:
    return key_file(folder, encrypted(make_pem()))


def _fifo(folder: Path) -> str:
    os.mkfifo(folder / "fifo")
    return str(folder / "fifo")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda folder: str(folder / "none"), "No such file"),
        (lambda folder: str(folder), "not a regular file"),
        (_fifo, "not a regular file"),
        (lambda folder: "/dev/zero", "not a regular file"),
        (lambda folder: key_file(folder, b"secret"), "not an unencrypted private key"),
        (_encrypted, "Run: (umask 077; openssl pkey -in"),
        (lambda folder: key_file(folder, make_pem(ec.SECP521R1())), "public CAs do not take"),
        (lambda folder: key_file(folder, RSA_KEY), "--key-type rsa --force-renewal"),
    ],
)
def test_g10_file_that_is_no_key_is_refused(
    site: Machine, capsys: Said, tmp_path: Path, make: Callable[[Path], str], told: str
) -> None:
    """Nothing is written, and nothing of it printed (G7)."""
    said = refused(site, capsys, NAME, "--key", make(tmp_path))
    assert told in said and "secret" not in said and "xxx" not in said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["other.test"],
            f"There is no certificate 'other.test' in {{}}. Certificates here: {NAME}.",
        ),
        ([NAME, "other.test"], "There is no certificate 'other.test'"),
        ([NAME, "--max-age", "-1"], "--max-age '-1': give a whole number"),
        ([NAME, "--keyring", "a/b"], "--keyring 'a/b': a keyring's name"),
    ],
)
def test_g10_bad_words_are_refused(
    site: Machine, capsys: Said, words: list[str], told: str
) -> None:
    """They are named as they were given."""
    assert told.format(site.config) in refused(site, capsys, *words)


def test_g2_header_of_before_is_looked_at_where_it_is_said(
    site: Machine, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--connect names the place."""
    asked: list[object] = []

    def glance(names: Sequence[str], connect: object = None) -> list[TlsObservation]:
        asked.append((tuple(names), connect))
        return [
            TlsObservation(name, stopped="unreachable", error="nothing answers") for name in names
        ]

    monkeypatch.setattr(probe, "glance", glance)
    code, out, _ = call(site, capsys, NAME, "--connect", "192.0.2.1:4433")
    assert code == 0 and set(asked) == {((NAME,), ("192.0.2.1", 4433))}
    assert f"pinkeep could not see which pins {NAME} sends already (nothing answers)" in out
    words = "add --channel header --label earlier --until 2026-12-31 --pin"
    assert f"certbot-pinkeep release {NAME} {words.rpartition('2026')[0]}" in out
    # That command is one that works.
    live = site.look(NAME).pin
    folders = ["--config-dir", str(site.config), "--work-dir", str(site.work)]
    folders += ["--logs-dir", str(site.work)]
    assert main.main(["release", NAME, *words.split(), live, *folders]) == 0
    state = site.state(NAME)
    best = rollover.best_backup(state.keyring, state.ledger, NOW, "ecdsa")[1]
    assert "the release header earlier carries pins without it until" in best.why


def test_backup_of_a_certificate_without_keyring_names_the_command(
    site: Machine, capsys: Said, tmp_path: Path
) -> None:
    """It works as it is told."""
    path = key_file(tmp_path, make_pem())
    folders = ["--config-dir", str(site.config), "--work-dir", str(site.work)]
    folders += ["--logs-dir", str(site.work)]
    capsys.readouterr()
    assert main.main(["backup", NAME, "add", "--key", path, *folders]) == 1
    told = capsys.readouterr().err
    words = f"certbot-pinkeep pin {NAME} --key {path}"
    assert f"\nRun: {words}\n" in told
    assert call(site, capsys, *words.split()[2:])[0] == 0


def test_backup_if_no_keyring_is_names_the_command(
    site: Machine, capsys: Said, tmp_path: Path
) -> None:
    """If no certificate has that name, one is to be got first."""
    path = key_file(tmp_path, make_pem())
    folders = ["--config-dir", str(site.config), "--work-dir", str(site.work)]
    folders += ["--logs-dir", str(site.work)]
    assert main.main(["backup", "other.test", "add", "--key", path, *folders]) == 1
    assert f"Run: certbot-pinkeep pin LINEAGE --key {path}" in capsys.readouterr().err


# A CSR that waits with its key


def wait(site: Machine, pem: bytes, *names: str, must_staple: bool = False) -> str:
    """Put a CSR and its key where they wait; the CSR's path."""
    folders = site.workflow.folders
    folders.save_key(pem)
    return str(folders.save_csr(csr_pem(pem, names, must_staple)).path)


@pytest.mark.parametrize(
    ("names", "must_staple", "kind", "used"),
    [
        (("b.test", "a.test"), False, None, True),
        (("a.test", "b.test"), True, None, False),
        (("a.test",), False, None, False),
        (("a.test", "b.test", "c.test"), False, None, False),
        (("a.test", "b.test"), False, KeyKind("rsa", "2048"), False),
    ],
)
def test_waiting_csr_is_used_for_exactly_its_names(
    site: Machine, names: tuple[str, ...], must_staple: bool, kind: KeyKind | None, used: bool
) -> None:
    """In any order, with must-staple as asked; not for another type of key."""
    pem = make_pem()
    path = wait(site, pem, "a.test", "b.test")
    handed = site.workflow.handover_new(
        "a.test", "a.test", "ecdsa", names, must_staple, NOW, kind=kind
    )
    assert (handed is not None) == used
    if handed is not None:
        assert (handed.csr.path, handed.pin, handed.waited) == (path, pin_of_key(pem), True)
        assert site.new("a.test", "a.test", NOW, hosts=names) == pin_of_key(pem)
        assert site.published("a.test").pins[0] == pin_of_key(pem)


def test_waiting_csr_without_its_key_is_passed_over(site: Machine) -> None:
    """So is one whose key a certificate or a keyring has, or had."""
    site.workflow.folders.save_csr(csr_pem(make_pem(), ["a.test"]))
    wait(site, site.look(NAME).key_pem(), "a.test")
    before = site.look(NAME).key_pem()
    site.issue(NAME)
    wait(site, before, "a.test")
    site.keep(NAME, NAME)
    found = site.workflow.folders.find_key(site.published(NAME).pins[-1])
    assert found is not None
    wait(site, found.pem, "a.test")
    assert site.workflow.handover_new("a.test", "a.test", "ecdsa", ["a.test"], False, NOW) is None


def test_several_waiting_csrs_are_told(site: Machine) -> None:
    """Which key clients pin, only the admin knows."""
    paths = [wait(site, make_pem(), "a.test") for _ in range(2)]
    with pytest.raises(BadKey) as told:
        site.workflow.handover_new("a.test", "a.test", "ecdsa", ["a.test"], False, NOW)
    assert all(path in str(told.value) for path in paths)


def test_g2_key_that_is_brought_proves_the_header_of_before(
    site: Machine, capsys: Said, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The host serves the key that is given with --key: what it sends binds its visitors, and a later
    rollover waits for them."""
    old, other = make_pem(), pin_of_key(make_pem())
    value = write_header(Header((pin_of_key(old), other), 31536000))
    der = load_certificate(certificate(old, [NAME])).public_bytes(Encoding.DER)

    def glance(names: Sequence[str], connect: object = None) -> list[TlsObservation]:
        return [TlsObservation(name, der, ((ENFORCED, value),)) for name in names]

    monkeypatch.setattr(probe, "glance", glance)
    code, out, err = call(site, capsys, NAME, "--key", key_file(tmp_path, old))
    assert (code, err) == (0, "") and "already sends a Public-Key-Pins header" in out
    assert f"backup {NAME} drop {other}" in out and "does not believe" not in out
    assert site.renew(NAME, NAME, NOW + HOUR) == pin_of_key(old)
    keys = site.state(NAME).keyring.without_offline()
    best = rollover.best_backup(keys, site.state(NAME).ledger, NOW + 2 * HOUR, "ecdsa")[1]
    assert best.since == NOW + 365 * DAY
