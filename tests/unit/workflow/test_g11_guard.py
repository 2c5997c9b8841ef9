"""The guard's own turns: what it does with lineages that another installer renews."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from certbot import util

from certbot_pinkeep.adapters import certbot_config, lineage, renewal_conf
from certbot_pinkeep.core.key_and_csr import SavedCsr
from certbot_pinkeep.storage import keys_and_csrs
from certbot_pinkeep.storage.store import Store
from certbot_pinkeep.workflow import guard, run
from simulated.machine import Machine
from simulated.plugin import config
from simulated.values import make_pem

A, Z = "a.example", "z.example"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine on which nothing is pinned."""
    return Machine(tmp_path)


@pytest.fixture(autouse=True)
def _nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """The admin gave no option, and no other test's certificate waits."""
    monkeypatch.setattr(guard, "_issued", [])
    run.of.cache_clear()
    monkeypatch.setattr(certbot_config, "is_given", lambda config, option: False)


def others(machine: Machine, name: str) -> None:
    """Another installer renews the lineage."""
    path = machine.renewal(name)
    path.write_text(path.read_text().replace("installer = pinkeep", "installer = apache"))


def enrolled(machine: Machine, name: str) -> None:
    """An enrolled lineage that another installer renews."""
    machine.issue(name)
    machine.keep(name, name)
    others(machine, name)


def test_g12_certificate_whose_turn_never_came_is_loaded_at_the_end(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its installer failed; another lineage had its turn. While Python ends, it calls nothing that is
    registered only then."""
    ending: list[Callable[[], object]] = []
    monkeypatch.setattr(util, "atexit_register", lambda one: ending.append(one))
    monkeypatch.setattr(atexit, "register", lambda one: ending.append(one))
    for name in (A, Z):
        enrolled(machine, name)
    live = machine.config / "live"
    machine.issue(A, (live / A / "privkey.pem").read_bytes())
    others(machine, A)
    guard.Guard(config(machine)).issued((live / A / "cert.pem").read_bytes())
    guard.update(config(machine), Z, *(str(live / Z / f"{p}.pem") for p in ("cert", "privkey")))
    for one in reversed(tuple(ending)):
        one()
    (member,) = machine.state(A).keyring.members
    assert member.loaded == lineage.glance(str(live / A / "cert.pem")).fingerprint


def test_g5_options_of_an_earlier_version_are_kept_until_they_are_recorded(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, or a kill, loses none of them."""
    machine.issue("x")
    path = machine.renewal("x")
    path.write_text(f"{path.read_text()}pinkeep_max_age = 300\n")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "save", full)
        with pytest.raises(OSError, match="No space"):
            machine.keep("x", "x", max_age="300")
    known = renewal_conf.load(str(machine.config), "x")
    assert known is not None and known.options["max-age"] == "300"
    machine.keep("x", "x", max_age="300")
    known = renewal_conf.load(str(machine.config), "x")
    assert known is not None and not known.options


def test_g9_lineage_made_anew_for_other_hosts_is_not_held_for_the_deleted_one(
    machine: Machine,
) -> None:
    """It has the name of one that was enrolled, and nobody holds pins of its hosts."""
    machine.issue("x", hosts=(A,))
    machine.keep("x", "x")
    machine.delete("x")
    given = {"certname": "x", "domains": ["b.other"], "verb": "certonly"}
    assert guard.request(config(machine, **given), ["b.other"]) is None
    machine.issue("x", hosts=("b.other",))
    others(machine, "x")
    run.of.cache_clear()
    guard.end(config(machine, **given))


def test_g9_damaged_keyring_file_does_not_stop_other_csrs(machine: Machine) -> None:
    """The certificate is issued already, and has nothing to do with the keyring."""
    enrolled(machine, A)
    (machine.config / "pinkeep" / f"{A}.conf").write_bytes(b"rubbish")
    run.of.cache_clear()
    pem = keys_and_csrs.make_csr(make_pem(), ["other.test"], must_staple=False)
    given = {"domains": ["other.test"], "verb": "certonly", "csr": "x"}
    guard.end(config(machine, **given, actual_csr=SimpleNamespace(data=SavedCsr(None, pem).pem)))


def test_g12_installer_in_cli_ini_makes_nobody_elses_lineage_the_last_one(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be published is an error of certbot's run, not a line at its very end."""
    enrolled(machine, A)
    machine.issue(Z)
    others(machine, Z)
    monkeypatch.setattr(certbot_config, "is_given", lambda config, option: option == "installer")
    assert not guard.Guard(config(machine))._more_to_come(A)
