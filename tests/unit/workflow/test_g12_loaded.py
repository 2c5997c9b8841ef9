"""G12: a renewed certificate whose key clients accept is loaded in the same run, whatever is wrong."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from certbot_pinkeep.adapters import clock
from certbot_pinkeep.carriers import servers
from certbot_pinkeep.cli import main
from certbot_pinkeep.core import options
from certbot_pinkeep.core.errors import PinkeepError
from certbot_pinkeep.core.keyring import Keyring
from certbot_pinkeep.storage import atomic
from certbot_pinkeep.workflow.run import Run
from simulated.machine import Machine
from simulated.values import NOW, make_pem
from simulated.workflow import take_turn

A, B = "a.pin.test", "b.pin.test"

Trouble = Callable[[Machine, pytest.MonkeyPatch], None]


class OneRun:
    """One run of certbot through both lineages, each on a keyring of its own."""

    def __init__(self, machine: Machine, **values: object) -> None:
        self.machine = machine
        self.run = Run(str(machine.config), str(machine.work))
        self.values = values

    def turn(self, name: str, issued: bool = False) -> None:
        """A lineage has its turn, as the installer gives it to it; what fails is told by certbot."""
        given = dict(self.machine.options(name).settings) | self.values
        self.run.loader.note(name, name, given, issued=issued)
        with suppress(PinkeepError, OSError, RuntimeError):
            chosen, live = options.parse(given, name), self.machine.look(name)
            take_turn(self.run, live, given, chosen, pinned_before=True, issued=issued)

    def end(self) -> int:
        """The run ends; how often Apache was reloaded in it."""
        before = self.machine.apache.reloads
        with suppress(PinkeepError, OSError, RuntimeError):
            self.run.finish()
        return self.machine.apache.reloads - before


def run(machine: Machine, issued: bool = False, /, **values: object) -> int:
    """A run for the first lineage; how often Apache was reloaded."""
    one = OneRun(machine, **values)
    one.turn(A, issued)
    return one.end()


def renew(machine: Machine, name: str = A, hosts: tuple[str, ...] = ()) -> None:
    """A new certificate for the same key."""
    machine.issue(name, Path(machine.look(name).key_path).read_bytes(), hosts)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Two lineages that are pinned; Apache refuses every snippet with ``max-age=5``."""
    monkeypatch.setattr(clock, "now", lambda: NOW)
    found = Machine(tmp_path)
    snippets = found.config / "pinkeep" / "apache"
    found.apache.refuses = lambda: any(
        re.search("max-age=5[^0-9]", path.read_text())
        for path in snippets.glob("*.conf")
        if path.is_file()
    )
    for name in (A, B):
        found.issue(name)
        one = OneRun(found)
        one.turn(name)
        assert one.end() == 1
    return found


def refused_snippet(machine: Machine, _: pytest.MonkeyPatch) -> None:
    """The changed snippet does not pass Apache's test, and is taken back."""


def host_on_two_keyrings(machine: Machine, _: pytest.MonkeyPatch) -> None:
    """The renewal has a host more, which another keyring pins."""
    renew(machine, hosts=(A, B))


def open_folder(machine: Machine, _: pytest.MonkeyPatch) -> None:
    """Everybody may write where the keyrings are."""
    (machine.config / "pinkeep").chmod(0o777)


def no_folder_of_keys(machine: Machine, _: pytest.MonkeyPatch) -> None:
    """A find with -delete went through keys/."""
    for path in (machine.config / "keys").iterdir():
        path.unlink()


def snippet_is_a_folder(machine: Machine, _: pytest.MonkeyPatch) -> None:
    """The snippet cannot be read."""
    machine.snippet(A).unlink()
    machine.snippet(A).mkdir()


def junk_in_the_keyring_file(machine: Machine, _: pytest.MonkeyPatch) -> None:
    """It was edited."""
    (machine.config / "pinkeep" / f"{A}.conf").write_bytes(b"junk")


def no_keyring_file(machine: Machine, _: pytest.MonkeyPatch) -> None:
    """It is gone, and its copy with it."""
    for path in (machine.config / "pinkeep" / f"{A}.conf", *machine.work.rglob(f"*{A}*")):
        if path.is_file():
            path.unlink()


def full_disk(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be written any more."""

    def full(*given: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic, "replace", full)


def no_lock(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock on the keyrings cannot be had."""

    def refuse(folder: str) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(atomic, "locked", refuse)


def mistake_of_ours(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something that nobody has thought of."""

    def refuse(keyring: Keyring) -> tuple[str, ...]:
        raise RuntimeError("never seen before")

    monkeypatch.setattr(Keyring, "published_pins", refuse)


TROUBLES: list[tuple[Trouble, dict[str, object]]] = [
    (refused_snippet, {"max-age": "5"}),
    (host_on_two_keyrings, {}),
    (open_folder, {}),
    (no_folder_of_keys, {}),
    (snippet_is_a_folder, {}),
    (junk_in_the_keyring_file, {}),
    (no_keyring_file, {}),
    (full_disk, {"max-age": "86400"}),
    (no_lock, {}),
    (mistake_of_ours, {}),
]
BAD_OPTIONS: dict[str, str] = {
    "max-age": "junk",
    "snippet-dir": "/nowhere/snippets",
    "report-uri": f"https://{A}/",
    "keyring": "a b",
}


@pytest.mark.parametrize(("trouble", "values"), TROUBLES)
def test_g12_loaded_whatever_is_wrong(
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Trouble,
    values: dict[str, object],
) -> None:
    """Once, in the run that renewed it."""
    renew(machine)
    trouble(machine, monkeypatch)
    assert run(machine, True, **values) == 1


@pytest.mark.parametrize("other", [A, B])
def test_g6_apache_is_not_reloaded_with_a_private_key_of_another_certificate(
    machine: Machine, other: str
) -> None:
    """A hook replaced the key of one certificate. Apache's test does not see that, and Apache would end. So
    Apache goes on as it is until that certificate is renewed."""
    renew(machine)
    key = Path(machine.look(other).key_path).resolve()
    right = key.read_bytes()
    key.write_bytes(make_pem())
    one = OneRun(machine)
    one.turn(A, issued=True)
    one.turn(B)
    before = machine.apache.reloads
    with pytest.raises(PinkeepError, match=f"certbot renew --cert-name {other} --force-renewal"):
        one.run.finish()
    assert machine.apache.reloads == before
    key.write_bytes(right)
    assert run(machine) == 1


def test_g6_apache_is_not_reloaded_with_such_a_key_of_a_keyring_that_fails(
    machine: Machine,
) -> None:
    """Only the other keyring can be published in this run."""
    renew(machine)
    Path(machine.look(B).key_path).resolve().write_bytes(make_pem())
    one = OneRun(machine)
    one.turn(A, issued=True)
    one.turn(B)
    (machine.config / "pinkeep" / f"{B}.conf").write_bytes(b"junk")
    assert one.end() == 0


@pytest.mark.parametrize("name", sorted(BAD_OPTIONS))
def test_g12_loaded_with_a_bad_option(machine: Machine, name: str) -> None:
    """Whichever option it is."""
    renew(machine)
    assert run(machine, True, **{name: BAD_OPTIONS[name]}) == 1


@pytest.mark.parametrize("name", ["reload-command", "configtest-command"])
@pytest.mark.parametrize("bad", ["true && true", "/nowhere/apachectl", "'"])
def test_g12_earlier_command_counts_in_place_of_a_bad_one(
    machine: Machine, name: str, bad: str
) -> None:
    """The keyring's file has it."""
    renew(machine)
    assert run(machine, True, **{name: bad}) == 1


def test_g12_default_counts_if_there_is_no_earlier_command(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the best guess, and it is tested before."""
    default = {("graceful",): machine.apache.reload, ("configtest",): machine.apache.configtest}
    monkeypatch.setattr(servers.Kind, "default", lambda kind, action: default.get(action, ()))
    machine.issue("d.pin.test")
    one = OneRun(machine, **{"reload-command": "true && true"})
    one.turn("d.pin.test", issued=True)
    assert one.end() == 1


def test_g12_loaded_only_if_every_server_was_reloaded(machine: Machine) -> None:
    """One daemon that fails: all are reloaded again in the next run, until all have succeeded."""
    broken = machine.apache.root / "broken"
    broken.touch()
    (daemon,) = machine.apache.script("daemon", f'test ! -e "{broken}"')
    both = {"reload-command": [machine.apache.reload[0], daemon]}
    renew(machine)
    runs = [run(machine, True, **both), run(machine, **both)]
    broken.unlink()
    assert [*runs, run(machine, **both), run(machine, **both)] == [1, 1, 1, 0]


def test_g12_log_names_the_certificates_that_were_loaded(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """The admin looks there if a site serves what nobody published."""
    renew(machine)
    with caplog.at_level("INFO"):
        assert run(machine, True, **{"max-age": "5"}) == 1
    assert f"Reloaded Apache with the renewed certificates of {A}." in caplog.messages


def test_g12_loaded_once_for_two_keyrings_that_fail(machine: Machine) -> None:
    """One reload command, one reload."""
    for name in (A, B):
        renew(machine, name)
    one = OneRun(machine, **{"max-age": "5"})
    for name in (A, B):
        one.turn(name, issued=True)
    assert one.end() == 1


def test_g12_what_the_publication_loaded_is_not_loaded_again(machine: Machine) -> None:
    """One keyring fails, the other does not: the reload of one loads both."""
    for name in (A, B):
        renew(machine, name)
    (machine.config / "pinkeep" / f"{A}.conf").write_bytes(b"junk")
    one = OneRun(machine)
    for name in (A, B):
        one.turn(name, issued=True)
    assert one.end() == 1


def test_g12_run_that_was_killed_is_made_up_for(machine: Machine) -> None:
    """The next run loads the certificate, though the snippet fails its test; later ones do not."""
    renew(machine)
    assert run(machine, False, **{"max-age": "5"}) == 1
    assert run(machine, False, **{"max-age": "5"}) == 0


def test_g12_failed_publication_is_not_taken_for_a_loaded_one(machine: Machine) -> None:
    """The certificate was loaded, the changed policy was not."""
    renew(machine)
    assert run(machine, True, **{"max-age": "5"}) == 1
    assert machine.state(A).ledger.pending and machine.published(A).max_age != 5
    assert run(machine) == 1 and not machine.state(A).ledger.pending


def test_g6_nothing_is_loaded_past_a_failed_test(machine: Machine) -> None:
    """Also if only a certificate is to be loaded, and no snippet has changed."""
    renew(machine)
    machine.apache.break_config()
    assert run(machine, True) == 0
    machine.apache.mend_config()
    assert run(machine) == 1


def test_g2_key_that_clients_refuse_is_not_loaded(machine: Machine) -> None:
    """It was renewed without pinkeep; if the keyring file is lost, the snippet tells."""
    machine.issue(A)
    assert run(machine, True) == 0
    no_keyring_file(machine, pytest.MonkeyPatch())
    assert run(machine, True) == 0


def test_g2_key_that_another_keyring_refuses_is_not_loaded(machine: Machine) -> None:
    """A lineage that was never pinned brings its own key for a host that is."""
    machine.issue("c.pin.test", hosts=(B,))
    one = OneRun(machine)
    one.turn("c.pin.test", issued=True)
    assert one.end() == 0


def test_g12_lineage_that_could_not_be_pinned(machine: Machine) -> None:
    """If nobody holds pins for its names it is loaded."""
    machine.issue("d.pin.test")
    one = OneRun(machine, **{"max-age": "junk"})
    one.turn("d.pin.test", issued=True)
    assert one.end() == 1


@pytest.mark.parametrize("guarded", [True, False])
def test_hook_leaves_a_pinned_lineage_to_a_certbot_with_the_guard(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    """That certbot loads all its certificates at once. Any other certbot needs the hook."""
    renew(machine)
    monkeypatch.setenv("RENEWED_LINEAGE", str(machine.config / "live" / A))
    monkeypatch.setenv("CERTBOT_PINKEEP_GUARD", "1" if guarded else str(os.getpid()))
    before = machine.apache.reloads
    folders = [f"--config-dir={machine.config}", f"--work-dir={machine.work}"]
    assert main.main(["deploy-hook", *folders, f"--logs-dir={machine.work / 'logs'}"]) == 0
    assert machine.apache.reloads == before + (not guarded)


@pytest.mark.parametrize("option", ["max-age", "report-uri"])
def test_g12_hook_has_the_certificate_loaded(
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    option: str,
) -> None:
    """The deploy hook does the same under any certbot, and fails with what is wrong."""
    renew(machine)
    path = machine.renewal(A)
    commands = machine.options(A).settings
    lines = [f"pinkeep_{name.replace('-', '_')} = {text}" for name, text in commands.items()]
    lines.append(f"pinkeep_{option.replace('-', '_')} = {BAD_OPTIONS[option]}")
    path.write_text(path.read_text() + "\n".join(lines) + "\n")
    monkeypatch.setenv("RENEWED_LINEAGE", str(machine.config / "live" / A))
    before = machine.apache.reloads
    folders = [f"--config-dir={machine.config}", f"--work-dir={machine.work}"]
    logs = f"--logs-dir={machine.work / 'logs'}"
    assert main.main(["deploy-hook", *folders, logs]) == 1
    assert f"--pinkeep-{option}" in capsys.readouterr().err
    assert machine.apache.reloads == before + 1
