"""What a run costs, as files that are looked at: no more with more keyrings, and each at most once.

What a run spares must hide nothing: a change by another process is seen at once (G8).
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbot_pinkeep.core import hostnames, options
from certbot_pinkeep.core.keyring import Keyring, Member
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.state import State
from certbot_pinkeep.storage import atomic, catalogue
from certbot_pinkeep.storage.store import Store
from certbot_pinkeep.workflow import move, run
from simulated.keeper import take_turn
from simulated.machine import Machine
from simulated.values import NOW, fake_pin, ring_key


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
    values = move.values(
        one.workspace, name, dict.fromkeys(options.OPTIONS), {}, names=live.names, now=NOW
    )
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
    store = Store(str(tmp_path))
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
    if hostnames.covers(host, name, True):
        assert found
