"""What a run costs, as files that are looked at: no more with more keyrings, and each at most once.

What a run spares must hide nothing: a change by another process is seen at once (G8).
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from certbot.display import util as display_util
from hypothesis import given
from hypothesis import strategies as st

from certbot_pinkeep import installer as installers
from certbot_pinkeep.adapters import certbot_config, clock
from certbot_pinkeep.core import hostnames, options
from certbot_pinkeep.core.keyring import Keyring, Member
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.state import State
from certbot_pinkeep.storage import atomic, catalogue, settings
from certbot_pinkeep.storage.store import Store
from certbot_pinkeep.storage.uptodate import UpToDate
from certbot_pinkeep.workflow import enrolled, first_look, guard, move, requests, run
from simulated.machine import Machine
from simulated.plugin import config
from simulated.values import DAY, NO_WORK_DIR, NOW, fake_pin, make_pem, ring_key
from simulated.workflow import take_turn


class Looks:
    """Counts the files that are read, and those that ``stat`` looks at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        read, stat = atomic._read, os.stat

        def counted_read(descriptor: int, path: str, largest: int) -> bytes:
            self.read[path] += 1
            return read(descriptor, path, largest)

        def counted_stat(path: str, **more: bool) -> os.stat_result:
            self.seen[str(path)] += 1
            return stat(path, **more)

        monkeypatch.setattr(atomic, "_read", counted_read)
        monkeypatch.setattr(os, "stat", counted_stat)

    def clear(self) -> None:
        """Count anew."""
        self.read.clear()
        self.seen.clear()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    """The files that are looked at."""
    return Looks(monkeypatch)


def turn(machine: Machine, one: run.Run, name: str) -> None:
    """A lineage has its turn, as in ``certbot renew``."""
    live, chosen = machine.look(name), machine.options(name)
    by_host = partial(move.keyring_at, one.workspace, live.names, NOW)
    none: dict[str, object] = dict.fromkeys(options.OPTIONS)
    values = settings.values(one.workspace.store, name, none, {}, by_host)
    assert values["keyring"] is None
    take_turn(one, live, chosen.settings, chosen)


def with_keyrings(root: Path, count: int) -> Machine:
    """A machine with as many keyrings."""
    root.mkdir()
    machine = Machine(root)
    for number in range(count):
        machine.issue(f"old-{number}.test")
        machine.keep(f"old-{number}.test", f"old-{number}.test")
    return machine


def test_each_keyring_file_is_read_once_a_run(tmp_path: Path, looks: Looks) -> None:
    """However many lineages have their turn, old and new ones."""
    machine = with_keyrings(tmp_path / "it", 4)
    new = [f"new-{number}.test" for number in range(3)]
    for name in new:
        machine.issue(name)
    looks.clear()
    one = run.Run(str(machine.config), str(machine.work))
    for name in (*new, *(f"old-{number}.test" for number in range(4))):
        turn(machine, one, name)
    one.finish()
    files = machine.config.glob("pinkeep/*.conf")
    read = {path.stem: looks.read[str(path)] for path in files}
    assert read == {**dict.fromkeys(new, 0), **{f"old-{number}.test": 1 for number in range(4)}}


def test_a_lineage_costs_the_same_beside_many_keyrings(tmp_path: Path, looks: Looks) -> None:
    """Adopted in a run that has looked at all of them: no file more is read, none more looked at."""
    counts = []
    for count in (1, 4):
        machine = with_keyrings(tmp_path / str(count), count)
        one = run.Run(str(machine.config), str(machine.work))
        for name in ("first.test", "second.test", "third.test"):
            machine.issue(name)
            looks.clear()
            turn(machine, one, name)
        counts.append((looks.read.total(), looks.seen.total()))
    assert counts[0] == counts[1]


INSTALLERS = ("pinkeep", "apache")


@pytest.fixture(autouse=True)
def _at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is NOW, and certbot prints nothing."""
    monkeypatch.setattr(clock, "now", lambda: NOW)
    monkeypatch.setattr(display_util, "notify", lambda text: None)


def process(
    machine: Machine, installer: str, *names: str, **given: object
) -> list[Callable[[], object]]:
    """``certbot renew`` comes to these lineages, none of which is due; what is left for its end."""
    ending: list[Callable[[], object]] = []
    certbot = SimpleNamespace(atexit_register=ending.append)
    run.of.cache_clear()
    first_look.of.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(installers, "util", certbot)
        patch.setattr(guard, "util", certbot)
        patch.setattr(guard, "_issued", [])
        patch.setattr(certbot_config, "is_given", lambda config, option: False)
        found = config(machine, installer=installer, **given)
        for name in names:
            live = machine.config / "live" / name
            lineage: Any = SimpleNamespace(lineagename=name, cert_path=str(live / "cert.pem"))
            lineage.key_path = str(live / "privkey.pem")
            if installer == "pinkeep":
                plugin = installers.Installer(found, installer)
                plugin.generic_updates(lineage)
            installers._Door().updating(found, lineage)
    return ending


def up_to_date(root: Path, installer: str, *others: str) -> tuple[Machine, list[str]]:
    """Three lineages that a run of this installer has found up to date, and others that are not enrolled."""
    machine = with_keyrings(root / "it", 3)
    names = [f"old-{number}.test" for number in range(3)]
    for name in others:
        machine.issue(name)
    for name in (*names, *others):
        path = machine.renewal(name)
        path.write_text(path.read_text().replace("pinkeep", installer))
    for _ in range(2):
        process(machine, installer, *names)
    return machine, names


@pytest.mark.parametrize("installer", INSTALLERS)
def test_run_without_news_reads_one_small_file_a_lineage(
    tmp_path: Path, looks: Looks, installer: str
) -> None:
    """It starts no run, and loads no keyring file, whichever installer the lineages have."""
    machine, names = up_to_date(tmp_path, installer)
    looks.clear()
    process(machine, installer, *names)
    own = machine.work / "pinkeep"
    assert looks.read == Counter(
        str(own / one) for one in ("certificates", *(f"{n}.json" for n in names))
    )
    assert run.of.cache_info().currsize == 0


def test_run_without_news_looks_at_the_files_of_a_keyring_once(
    tmp_path: Path, looks: Looks
) -> None:
    """However many lineages draw on it; their notes are as small as those of one alone."""
    names = [f"it-{number}.test" for number in range(4)]
    machine = Machine(tmp_path)
    for name in names:
        machine.issue(name)
        machine.keep(name, "shared")
    for _ in range(2):
        process(machine, "pinkeep", *names)
    looks.clear()
    process(machine, "pinkeep", *names)
    assert run.of.cache_info().currsize == 0
    keys = [str(path) for path in machine.config.glob("keys/*.pem")]
    assert keys and {looks.seen[path] for path in keys} == {1}
    notes = [(machine.work / "pinkeep" / f"{name}.json").read_text() for name in names]
    assert sum(any(key in text for key in keys) for text in notes) == 1


def test_lineages_that_are_not_enrolled_cost_no_look_at_a_keyring(
    tmp_path: Path, looks: Looks
) -> None:
    """Not even in a run that has to look at a lineage that is."""
    others = ("a-new.test", "z-new.test")
    machine, names = up_to_date(tmp_path, "apache", *others)
    process(machine, "apache", *names, *others)
    machine.issue(names[0], Path(machine.look(names[0]).key_path).read_bytes())
    looks.clear()
    process(machine, "apache", others[0])
    assert not [path for path in looks.read if path.endswith(".conf") and "/pinkeep/" in path]
    assert str(machine.renewal(others[0])) not in looks.read


def _other_key(machine: Machine, name: str) -> None:
    machine.workflow.pin_key(name, make_pem(), NOW)


#: What may happen between two runs, or in one, to the first of three lineages.
NEWS: dict[str, Callable[[Machine, str], object]] = {
    "renewed": lambda m, n: m.issue(n, Path(m.look(n).key_path).read_bytes()),
    "keyring file changed": _other_key,
    "snippet gone": lambda m, n: m.snippet(n).unlink(),
    "a certificate came": lambda m, n: m.issue("new.test"),
    "another one went": lambda m, n: m.delete("old-2.test"),
    "no notes": lambda m, n: shutil.rmtree(m.work / "pinkeep"),
}


@pytest.mark.parametrize("news", NEWS)
@pytest.mark.parametrize("installer", INSTALLERS)
def test_news_starts_the_run(tmp_path: Path, installer: str, news: str) -> None:
    """Nothing that a full look would see is passed over."""
    machine, names = up_to_date(tmp_path, installer)
    NEWS[news](machine, names[0])
    process(machine, installer, names[0])
    assert run.of.cache_info().currsize == 1


@pytest.mark.parametrize("installer", INSTALLERS)
def test_option_that_is_given_starts_the_run(tmp_path: Path, installer: str) -> None:
    """It is the keyring's from then on."""
    machine, names = up_to_date(tmp_path, installer)
    for end in process(machine, installer, names[0], **{options.destination("max-age"): "300"}):
        end()
    assert machine.published(names[0]).max_age == 300


def test_g12_certificate_that_came_while_the_run_went_on_is_seen_at_its_end(tmp_path: Path) -> None:
    """Another installer has renewed a certificate for a pinned host after the last lineage's turn."""
    machine, names = up_to_date(tmp_path, "apache")
    (end,) = process(machine, "apache", *names)
    machine.issue("new.test", hosts=(names[0],))
    new = machine.look("new.test").pin
    end()
    assert new in machine.published(names[0]).pins


def test_g8_time_of_a_run_without_news_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that is set back after that is noticed."""
    machine, names = up_to_date(tmp_path, "apache")
    monkeypatch.setattr(clock, "now", lambda: NOW + DAY)
    (end,) = process(machine, "apache", *names)
    end()
    assert machine.workflow.store.latest_known(NOW) == NOW + DAY


def test_g11_what_is_noted_of_enrolled_lineages_is_never_old(tmp_path: Path) -> None:
    """A keyring that changed, leaves, or cannot be read is read anew."""
    machine, names = up_to_date(tmp_path, "apache")
    cache = UpToDate(str(machine.work))

    def found() -> frozenset[str]:
        return enrolled.lineages(machine.workflow, cache)

    assert found() == found() == {*names}
    workflow = machine.workflow
    machine.issue("new.test")
    machine.keep("new.test", names[2])
    assert "new.test" in found()
    requests.unpin(workflow, names[0], NOW)
    assert names[0] in found() and names[0] not in cache.noted("keyrings")
    Path(workflow.store.path(names[1])).write_bytes(b"rubbish")
    assert names[1] in found() and names[1] not in cache.noted("keyrings")
    for path in (p for name in names for p in workflow.store.paths(name)):
        Path(path).unlink()
    assert found() == frozenset()


def a_state(name: str, *hosts: str) -> State:
    """A keyring of one lineage with these hosts."""
    key = ring_key(fake_pin(name), "primary")
    return State(Keyring(name, (Member(name, hosts, key.pin),), (key,)), Ledger())


def test_g8_changes_by_another_process_are_seen_at_once(tmp_path: Path) -> None:
    """Also those that come within the same tick of the file system's clock as one of our own."""
    config, work = str(tmp_path), str(tmp_path / "work")
    os.mkdir(work)
    ours, theirs = Store(config, work), Store(config, work)
    ours.save(a_state("ours", "ours.test"))
    for number in range(50):
        name, host = f"ring-{number}", f"host-{number}.test"
        pin = fake_pin(name)
        assert ours.near([host]) == [] and ours.of_lineage(name) == []
        saved = theirs.save(a_state(name, host))
        assert ours.near([host, f"www.{host}"]) == ours.of_lineage(name) == [name]
        ours.save(a_state("ours", "ours.test"))
        theirs.save(replace(saved, keyring=saved.keyring.with_compromised(pin)))
        assert ours.is_compromised(pin)
        for path in ours.paths(name):
            os.unlink(path)
        assert ours.near([host]) == [] and not ours.is_compromised(pin)


def test_g8_own_changes_have_a_time_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file system gives one time to all changes within a few milliseconds: one could be hidden."""
    tick, replaced = 10**18, os.replace

    def coarse(source: str, target: str) -> None:
        replaced(source, target)
        os.utime(os.path.dirname(target), ns=(tick, tick))

    monkeypatch.setattr(os, "replace", coarse)
    store = Store(str(tmp_path), NO_WORK_DIR)
    for _ in range(2):
        store.save(a_state("ours", "ours.test"))
        assert os.stat(store.folder).st_mtime_ns != tick


LABELS = st.sampled_from(["a", "b", "*"])
NAMES = st.builds(
    lambda first, rest: ".".join([first, *rest]),
    LABELS,
    st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=3),
)


@given(NAMES, NAMES)
def test_g2_no_keyring_is_passed_over_that_may_bind(host: str, name: str) -> None:
    """Whatever stands for, is above, or is the same as a name is found by it."""
    found = set(catalogue._places(host)) & set(catalogue._asked(name))
    if hostnames.covers(host, name, subdomains=True):
        assert found
