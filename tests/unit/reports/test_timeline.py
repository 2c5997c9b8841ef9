"""The keys' lives and the binding windows, as rows, as text and as a picture."""

from __future__ import annotations

import io
import sys
import warnings
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from certbot_pinkeep.adapters import clock
from certbot_pinkeep.cli import main
from certbot_pinkeep.core.holdings import Release, ZoneEntry
from certbot_pinkeep.core.keyring import Keyring, Member
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.state import State
from certbot_pinkeep.core.tlsa import Port
from certbot_pinkeep.reports import plot, timeline
from certbot_pinkeep.workflow import releases, requests
from simulated.machine import Machine
from simulated.values import DAY, NOW, RSA, A, B, C, D, E, faulty, policy, ring_key

SITE = "pin.test"
YEAR_AGO = NOW - 365 * DAY


def state() -> State:
    """A key that was left, one that is served since 100 days, and one that is staged since 20."""
    left = ring_key(A, "retired", created=YEAR_AGO, first_served=YEAR_AGO)
    left = replace(left, last_served=NOW - 100 * DAY)
    served = ring_key(B, "primary", created=YEAR_AGO, first_served=NOW - 100 * DAY)
    staged = ring_key(C, created=NOW - 20 * DAY)
    book = Ledger().record(policy(A, B), YEAR_AGO).confirm(YEAR_AGO)
    book = book.record(policy(B, C), NOW - 20 * DAY).confirm(NOW - 20 * DAY)
    return State(Keyring(SITE, (Member(SITE, (SITE,), B),), (left, served, staged), 730), book)


def spans(row: timeline.Row) -> list[tuple[str, int, int]]:
    """Its bars, in days from now."""
    return [(bar.kind, (bar.start - NOW).days, (bar.end - NOW).days) for bar in row.bars]


def test_rows_tell_when_keys_and_pins_began_and_ended() -> None:
    """Each from its first day to its last."""
    line = timeline.timeline(state(), NOW)
    assert [spans(row) for row in line.keys] == [
        [("service", -365, -100)],
        [("staged", -365, -100), ("service", -100, 0)],
        [("staged", -20, 0)],
    ]
    assert [spans(row) for row in line.holdings] == [
        [("served", -365, -20), ("held", -20, 40)],
        [("served", -20, 0), ("held", 0, 60)],
    ]
    assert (line.start, line.end) == (YEAR_AGO, NOW + 60 * DAY)
    assert line.safe == NOW + 40 * DAY


def test_what_ran_out_is_still_shown() -> None:
    """Whether the ledger has dropped it or not."""
    later = NOW + 100 * DAY
    pruned = replace(state(), ledger=state().ledger.prune(later))
    assert len(pruned.ledger.entries) == 1
    for found in (pruned, state()):
        line = timeline.timeline(found, later)
        assert [spans(row) for row in line.holdings] == [
            [("served", -365, -20), ("held", -20, 40)],
            [("served", -20, 100), ("held", 100, 160)],
        ]
        assert timeline.verdict(line) == "A rollover is safe now."


def test_g8_what_binds_is_shown_by_a_clock_that_was_set_back() -> None:
    """Pins that are held, and backups, are there all the same, and held for as long."""
    found = state()
    book = Ledger().record(policy(B, C), NOW - 20 * DAY).confirm(NOW - 20 * DAY)
    line = timeline.timeline(replace(found, ledger=book), NOW - 400 * DAY)
    assert [row.label for row in line.holdings] == ["2 pins, 60 days"]
    assert spans(line.holdings[0]) == [("held", -20, 40)]
    assert [row.label[:10] for row in line.keys] == [A[:10], B[:10], C[:10]]
    assert [spans(row) for row in line.keys][2] == [("staged", -20, -20)]
    assert (line.start, line.end) == (NOW - 400 * DAY, NOW + 40 * DAY)


def test_policies_are_told_apart() -> None:
    """By how long they are held; one that is not held has no such bar."""
    book = Ledger().record(policy(A, B, max_age=86400), NOW - 9 * DAY).confirm(NOW - 9 * DAY)
    book = book.record(policy(A, B, C, max_age=60), NOW - 5 * DAY).confirm(NOW - 5 * DAY)
    book = book.record(policy(A, B, max_age=0), NOW - 3 * DAY).confirm(NOW - 3 * DAY)
    line = timeline.timeline(replace(state(), ledger=book), NOW)
    assert [row.label for row in line.holdings] == ["2 pins, 1 day", "3 pins, 60 s", "2 pins, 0 s"]
    assert spans(line.holdings[2]) == [("served", -3, 0)]


def test_type_that_is_only_staged_does_not_count() -> None:
    """From when a rollover is safe is what ``status`` says, and ``rollover`` does."""
    found = state()
    ring = found.keyring.with_keys(
        [ring_key(D, "primary", RSA), ring_key(E, kind=RSA, created=NOW)]
    )
    line = timeline.timeline(replace(found, keyring=ring), NOW)
    assert line.safe == NOW + 40 * DAY


def test_backup_that_cannot_be_used_is_not_safe() -> None:
    """Its private key is offline, or its file is lost."""
    found, later = state(), NOW + 100 * DAY
    keys = (*found.keyring.keys[:2], replace(found.keyring.keys[2], path=None))
    line = timeline.timeline(replace(found, keyring=replace(found.keyring, keys=keys)), later)
    assert line.safe is None and "is not on this machine" in timeline.verdict(line)
    line = timeline.timeline(replace(found, keyring=faulty(found.keyring, C)), later)
    assert line.safe is None and "no backup key can be used" in timeline.verdict(line)


def test_release_has_a_row_of_its_own(tmp_path: Path) -> None:
    """With its name, until its date and its TTL."""
    machine = Machine(tmp_path)
    machine.issue(SITE)
    machine.keep(SITE, SITE)
    end = NOW + 365 * DAY
    releases.add(
        machine.workflow, releases.ReleaseRequest(SITE, "ios", "3.2", end, timedelta(days=2)), NOW
    )
    line = timeline.timeline(machine.state(SITE), NOW + DAY)
    (row,) = [row for row in line.holdings if row.label == "ios 3.2"]
    assert spans(row) == [("served", 0, 365), ("held", 365, 367)]


def test_rows_of_a_port_say_which_records_they_are() -> None:
    """Those that may have been there unseen, those that are served, and those that are to come."""
    port, hour = Port(SITE, 25), timedelta(hours=1)
    zone = (
        ZoneEntry(port, (), hour, NOW - DAY),
        ZoneEntry(port, (A, B), hour, NOW - DAY, NOW - DAY),
        ZoneEntry(port, (B, C), hour, NOW),
    )
    line = timeline.timeline(replace(state(), ledger=Ledger(zone=zone)), NOW)
    name = f"TLSA {SITE}:25"
    told = [f"{name}, unknown pins", name, f"{name}, to come"]
    assert [row.label for row in line.holdings] == told


def test_unknown_safe_time_says_why() -> None:
    """A policy that waits for Apache has no known end."""
    found = state()
    key = ring_key("D" * 43 + "=", created=NOW)
    keyring = replace(found.keyring, keys=(*found.keyring.keys[:2], key))
    line = timeline.timeline(replace(found, keyring=keyring), NOW)
    assert line.safe is None
    assert "is not known: pins without it may still be served" in timeline.verdict(line)


@given(width=st.integers(1, 300), days=st.integers(-4000, 4000), plain=st.booleans())
def test_text_fits_the_terminal(width: int, days: int, plain: bool) -> None:
    """As far as labels and twenty columns do; in ASCII if nothing else can be shown."""
    text = timeline.as_text(timeline.timeline(state(), NOW + days * DAY), width, plain=plain)
    drawn = [row for row in text.splitlines() if row.startswith("  ")]
    assert all(len(row) <= max(width, 50) for row in drawn[:-1])
    assert sum("^" in row for row in drawn) >= 1
    assert text.isascii() or not plain


def test_g8_clock_before_all_that_is_on_record() -> None:
    """There is a picture all the same, and it begins now."""
    before = YEAR_AGO - 100 * DAY
    line = timeline.timeline(state(), before)
    assert line.start == before < line.end and line.holdings
    assert plot.svg(line).startswith(b"<?xml")


def test_what_was_never_used_is_left_out() -> None:
    """A key that was made and retired; what is safe later than all else is still in the picture."""
    found = state()
    unused = ring_key(D, "retired", created=NOW - 9 * DAY)
    line = timeline.timeline(replace(found, keyring=found.keyring.with_keys([unused])), NOW)
    assert [row.label for row in line.keys] == [
        f"{A[:10]} retired",
        f"{B[:10]} primary",
        f"{C[:10]} backup",
    ]
    blind = replace(found, ledger=found.ledger.with_uncertainty("it was lost", NOW + 500 * DAY))
    line = timeline.timeline(blind, NOW)
    assert line.end == line.safe == NOW + 500 * DAY


def test_holdings_are_in_the_order_of_time() -> None:
    """Releases among the policies."""
    book = state().ledger
    release = Release("ios", "1", (A, B), (SITE,), NOW - 100 * DAY, NOW + 9 * DAY)
    line = timeline.timeline(replace(state(), ledger=replace(book, releases=(release,))), NOW)
    assert [row.bars[0].start for row in line.holdings] == [
        YEAR_AGO,
        NOW - 100 * DAY,
        NOW - 20 * DAY,
    ]


def test_picture_has_a_line_for_now_and_one_for_what_is_safe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each at its time; the first row is at the top."""
    drawn: list[Any] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.extend(figure.axes))
    plot.svg(timeline.timeline(state(), NOW))
    (axes,) = drawn
    places = {line.get_label(): list(line.get_xdata()) for line in axes.lines}
    naive = NOW.replace(tzinfo=None)
    assert places["now"] == [naive, naive]
    assert places["rollover safe from"] == [naive + 40 * DAY, naive + 40 * DAY]
    assert axes.yaxis_inverted()


def test_picture_is_the_same_each_time_and_shows_every_row() -> None:
    """As SVG that an XML parser reads, its words as text."""
    line = timeline.timeline(state(), NOW)
    drawn = plot.svg(line)
    assert drawn == plot.svg(line)
    words = "".join(ET.fromstring(drawn).itertext())
    assert all(row.label in words for row in (*line.keys, *line.holdings))
    assert "A rollover is safe from 2026-04-10" in words


def test_picture_of_a_release_with_other_letters_is_drawn_silently() -> None:
    """matplotlib would warn of each that its fonts lack."""
    book = state().ledger.with_release(
        Release("ios", "日本 Größe", (B, C), (SITE,), NOW, NOW + DAY)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = plot.svg(timeline.timeline(replace(state(), ledger=book), NOW))
    assert "ios 日本 Größe" in drawn.decode()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A lineage that was rolled over; it is the day after."""
    found = Machine(tmp_path)
    found.issue(SITE)
    found.keep(SITE, SITE)
    requests.ask(found.workflow, SITE, NOW + 90 * DAY)
    found.renew(SITE, SITE, NOW + 90 * DAY)
    monkeypatch.setattr(clock, "now", lambda: NOW + 91 * DAY)
    return found


def run(machine: Machine, *words: str) -> int:
    """Run the command on the machine."""
    dirs = ["--config-dir", str(machine.config), "--work-dir", str(machine.work)]
    return main.main(["timeline", SITE, *words, *dirs])


def test_keys_life_ends_when_apache_has_loaded_the_next_one(machine: Machine) -> None:
    """As the keyring has it."""
    keys = {key.role: key for key in machine.state(SITE).keyring.keys}
    assert keys["retired"].last_served == keys["primary"].first_served == NOW + 90 * DAY
    assert keys["primary"].last_served is None


def test_command_prints_or_draws(
    machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Text without -o, a picture with it."""
    assert run(machine) == 0
    assert "A rollover is safe now." in capsys.readouterr().out
    assert run(machine, "-o", str(tmp_path / "a.svg")) == 0
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()


@pytest.mark.parametrize(("coding", "sign"), [("ascii", "#"), ("utf-8", "█")])
@pytest.mark.parametrize("columns", [60, 140])
def test_text_is_for_the_terminal_that_is_there(
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    coding: str,
    sign: str,
    columns: int,
) -> None:
    """With the signs that it can show, and as wide as it is."""
    shown = io.TextIOWrapper(io.BytesIO(), encoding=coding)
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setenv("COLUMNS", str(columns))
    assert run(machine) == 0
    text = shown.buffer.getvalue().decode(coding)
    assert sign in text
    drawn = [row for row in text.splitlines() if row.startswith("  ")]
    assert columns // 2 < max(map(len, drawn)) <= columns


@pytest.mark.parametrize(
    ("output", "words"), [("a.png", "ends in .svg"), ("missing/a.svg", "cannot be written")]
)
def test_g10_picture_that_cannot_be_written(
    machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str, words: str
) -> None:
    """The option and the value are named."""
    assert run(machine, "-o", str(tmp_path / output)) == 1
    told = capsys.readouterr().err
    assert words in told and output in told and "-o" in told


def test_picture_without_matplotlib_says_what_to_install(
    machine: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the pip of the Python that runs it, and the way without it."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run(machine, "-o", str(tmp_path / "a.svg")) == 1
    assert f"{sys.executable} -m pip install 'matplotlib" in capsys.readouterr().err
    assert not (tmp_path / "a.svg").exists()
