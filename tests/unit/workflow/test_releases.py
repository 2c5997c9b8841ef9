"""Apps and zones that carry pins: they bind as policies do, by name and until their date (G2)."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbot_pinkeep.adapters import clock
from certbot_pinkeep.cli import main
from certbot_pinkeep.core import explain, rollover, times
from certbot_pinkeep.core.errors import (
    BadRelease,
    NotAccepted,
    NotSafe,
    OtherKeyring,
    PinkeepError,
    TypeMissing,
)
from certbot_pinkeep.core.holdings import Release
from certbot_pinkeep.core.ledger import MOST_EXPIRED, Ledger
from certbot_pinkeep.core.state import State
from certbot_pinkeep.reports import status
from certbot_pinkeep.storage import keyring_file, store
from certbot_pinkeep.workflow import releases, requests
from simulated.machine import Machine
from simulated.values import DAY, HOUR, NOW, RSA, A, B, C, D, policy, ring_key, tree

SITE = "pin.test"
YEAR = NOW + 365 * DAY


def release(*listed: str, days: int = 365, ttl: timedelta = timedelta(0)) -> Release:
    """An app that carries these pins."""
    return Release("ios", "3.2", listed, (SITE,), NOW, NOW + days * DAY, ttl)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A pinned lineage with two backups."""
    found = Machine(tmp_path)
    found.issue(SITE)
    found.keep(SITE, SITE)
    return found


def add(machine: Machine, label: str = "3.2", days: int = 0, ttl: int = 0) -> Release:
    """Record a release for a year."""
    now = NOW + days * DAY
    return releases.add(
        machine.workflow,
        releases.ReleaseRequest(SITE, "ios", label, YEAR, timedelta(seconds=ttl)),
        now,
    )


def roll(machine: Machine, days: int) -> str:
    """Ask for a rollover, and renew."""
    now = NOW + days * DAY
    requests.ask(machine.workflow, SITE, now)
    return machine.renew(SITE, SITE, now + HOUR)


# What it binds


@given(
    carried=st.lists(st.sampled_from([A, B, C, D]), min_size=1, unique=True),
    days=st.integers(1, 800),
    ttl=st.integers(0, 90),
    later=st.integers(0, 1000),
    pin=st.sampled_from([A, B, C, D]),
)
def test_g2_switching_is_safe_when_every_release_that_binds_has_the_pin(
    carried: list[str], days: int, ttl: int, later: int, pin: str
) -> None:
    """And only then: the policy has all pins."""
    book = Ledger().record(policy(A, B, C, D, max_age=60), NOW).confirm(NOW)
    book = book.with_release(release(*carried, days=days, ttl=ttl * DAY))
    now = NOW + later * DAY
    held = later < days + ttl
    verdict = rollover.safety(ring_key(pin), book.prune(now), now)
    assert verdict.at(now) == (pin in carried or not held)
    if not verdict.at(now):
        assert verdict.since == NOW + (days + ttl) * DAY and "the release ios 3.2" in verdict.why


def test_refusal_names_what_binds_longest() -> None:
    """A policy that binds longer than the release is what counts."""
    book = Ledger().record(policy(A, B), NOW).record(policy(A, C), NOW + HOUR).confirm(NOW + HOUR)
    book = book.with_release(release(A, B, days=10))
    now = NOW + 2 * HOUR
    assert "clients may hold pins without it" in rollover.safety(ring_key(C), book, now).why
    longer = book.with_release(release(A, B, days=100))
    assert "the release ios 3.2 carries" in rollover.safety(ring_key(C), longer, now).why


def test_release_binds_at_its_names_only() -> None:
    """And below them, if it pins subdomains."""
    book = Ledger().with_release(release(A, B))
    assert rollover.locked_out(C, book, NOW, (SITE,))
    assert not rollover.locked_out(C, book, NOW, ("other.test", f"www.{SITE}"))
    below = Release("ios", "1", (A, B), (SITE,), NOW, YEAR, subdomains=True)
    assert rollover.locked_out(C, Ledger().with_release(below), NOW, (f"www.{SITE}",))


@pytest.mark.parametrize("ahead", [0, 100, 4000])
def test_g2_release_ends_on_its_date_whatever_the_clock_did(ahead: int) -> None:
    """A clock far ahead may have ended it too early. Once the clock is right the release binds again until
    its own date. Nothing else binds for longer."""
    book = Ledger().record(policy(A, B, max_age=60), NOW).confirm(NOW)
    book = (
        book.with_release(release(A, B))
        .with_latest_known(NOW + ahead * DAY)
        .prune(NOW + ahead * DAY)
    )
    assert bool(book.releases) == (ahead < 365)
    now = NOW + DAY
    right = book.accept_clock(now)
    assert [one.binds_until(now) for one in right.releases] == [YEAR]
    assert right.uncertain is None
    soon = NOW + 2 * DAY
    assert rollover.safety(ring_key(B, "backup"), right, soon).at(soon)
    assert right.releases[0] in rollover.locked_out(C, right, YEAR - HOUR)
    assert right.releases[0] not in rollover.locked_out(C, right, YEAR)
    assert not right.prune(YEAR).releases and right.prune(YEAR).expired


def test_g8_releases_that_may_be_forgotten_are_waited_for() -> None:
    """Only the last ones that ran out are remembered; the others ended before those."""
    book = Ledger().record(policy(A, B, max_age=60), NOW).confirm(NOW)
    for day in range(1, MOST_EXPIRED + 3):
        book = book.with_release(replace(release(A, B, days=100 + day), label=str(day)))
    right = book.prune(NOW + 4000 * DAY).accept_clock(NOW + DAY)
    assert len(right.releases) == MOST_EXPIRED
    assert right.uncertain is not None and right.uncertain.end == NOW + 103 * DAY


def test_past_is_kept_short_and_decides_nothing() -> None:
    """The last ones that ran out; nothing but the picture of them differs."""
    book = Ledger()
    for number in range(MOST_EXPIRED + 10):
        at = NOW + number * DAY
        book = book.record(policy(A, B, max_age=60 + number), at).confirm(at).prune(at)
    assert len(book.past) == MOST_EXPIRED and len(book.entries) == 2
    assert book.past[-1].until == NOW + (MOST_EXPIRED + 8) * DAY + timedelta(
        seconds=60 + MOST_EXPIRED + 7
    )


def test_ledger_with_releases_is_read_as_it_was_written(machine: Machine) -> None:
    """Whatever the label is."""
    state = machine.state(SITE)
    for label in ("3.2", "a, b", 'with "quotes"', "= # ü", "a'b\"c"):
        one = Release("my app", label, (A, B), (SITE,), NOW, YEAR, 60 * DAY, True)
        state = State(state.keyring, state.ledger.with_release(one))
    state = State(state.keyring, state.ledger.prune(NOW + 4000 * DAY).with_release(release(A)))
    read = keyring_file.read(SITE, keyring_file.write(state))
    assert read == state and read.ledger.past == state.ledger.past and len(state.ledger.past) == 5


# What an admin does


def test_g2_rollovers_use_the_backups_that_a_release_carries_then_wait(machine: Machine) -> None:
    """The two that it carries; the next one is refused, and the refusal names it; then it ended."""
    carried = add(machine).pins
    assert [roll(machine, 1), roll(machine, 100)] == list(carried[1:])
    with pytest.raises(NotSafe, match=r"the release ios 3\.2 carries pins without it until 2027"):
        requests.ask(machine.workflow, SITE, NOW + 200 * DAY)
    told = status.release_lines(machine.state(SITE), NOW + 200 * DAY)
    assert "0 of its pins are backups now: no rollover before it ends" in told[0]
    releases.end(machine.workflow, releases.ReleaseRequest(SITE, "ios", "3.2"), NOW + 200 * DAY)
    assert roll(machine, 201) not in carried


def test_release_that_is_over_is_not_said_to_forbid_a_rollover(machine: Machine) -> None:
    """Whether the ledger has dropped it or not."""
    add(machine)
    machine_state = machine.state(SITE)
    (release_,) = machine_state.ledger.releases
    for moment, over in ((release_.until - DAY, False), (release_.until + DAY, True)):
        (told,) = status.release_lines(machine_state, moment)
        assert ("binds nobody any more" in told) == over
        assert ("backups now" in told) == (not over)


def test_g2_forced_rollover_names_the_release(machine: Machine) -> None:
    """As one of those that are locked out."""
    add(machine)
    for days in (1, 100):
        roll(machine, days)
    asked = requests.ask(machine.workflow, SITE, NOW + 200 * DAY, force=True)
    assert any("that rely on the release ios 3.2, until 2027" in told for told in asked.told)


@pytest.mark.parametrize(
    ("renewed", "words"),
    [
        (False, ["that a forced rollover takes", "rollover pin.test --undo"]),
        (True, ["The key of pin.test, with the pin"]),
    ],
)
@pytest.mark.parametrize("verb", ["extend", "add"])
def test_g2_later_date_of_a_release_that_a_key_locks_out_says_until_when(
    machine: Machine,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    renewed: bool,
    words: list[str],
    verb: str,
) -> None:
    """An app may lack the served key, or the one of a forced rollover. Its date is recorded. A message says
    whom that locks out until when, and promises nothing."""
    carried = machine.published(SITE).pins[:2]
    releases.add(
        machine.workflow,
        releases.ReleaseRequest(SITE, "ios", "3.2", NOW + 5 * DAY, None, carried[:1]),
        NOW,
    )
    requests.ask(machine.workflow, SITE, NOW, force=True)
    if renewed:
        machine.renew(SITE, SITE, NOW + HOUR)
    monkeypatch.setattr(clock, "now", lambda: NOW + DAY)
    given = ["--pin", carried[0]] if verb == "add" else []
    assert run(machine, "release", SITE, verb, *IOS, "--until", "2027-03-01", *given) == 0
    told = capsys.readouterr().out
    assert "no rollover locks out ios 3.2" not in told
    for word in [
        *words,
        "locks out every client that relies on ios 3.2, until 2027-03-02T00:00:00Z",
    ]:
        assert word in told
    assert machine.state(SITE).ledger.releases[0].until == datetime(2027, 3, 2, tzinfo=NOW.tzinfo)
    assert "--channel ios --label 3.2" in told
    if not renewed:
        requests.take_back(machine.workflow, SITE, NOW + DAY)
        assert run(machine, "release", SITE, "extend", *IOS, "--until", "2027-03-02") == 0
        assert "no rollover locks out ios 3.2" in capsys.readouterr().out


def test_g2_zone_is_held_for_its_ttl_after_it_ended(machine: Machine) -> None:
    """Resolvers keep the old records for so long."""
    add(machine, ttl=86400)
    (ended,) = releases.end(
        machine.workflow, releases.ReleaseRequest(SITE, "ios", "3.2"), NOW + DAY
    )
    assert ended.binds_until(NOW) == NOW + 2 * DAY
    assert machine.state(SITE).ledger.releases == (ended,)
    machine.keep(SITE, SITE, NOW + 3 * DAY, max_age=1)
    assert machine.state(SITE).ledger.releases == ()


def test_release_can_be_prolonged_while_the_pins_are_the_same(machine: Machine) -> None:
    """Another set of pins is another release; the one that is out is extended, with its own."""
    add(machine)
    longer = releases.add(
        machine.workflow,
        releases.ReleaseRequest(SITE, "ios", "3.2", YEAR + DAY, timedelta(0)),
        NOW + DAY,
    )
    assert machine.state(SITE).ledger.releases == (longer,) and longer.recorded == NOW
    roll(machine, 2)
    with pytest.raises(BadRelease, match=r"another --label\. .* give 'extend'"):
        add(machine, days=3)
    (again,) = releases.extend(
        machine.workflow, releases.ReleaseRequest(SITE, "ios", "3.2", YEAR + 9 * DAY), NOW + 3 * DAY
    )
    assert again.pins == longer.pins and again.until == YEAR + 9 * DAY


def test_g2_unpinned_keyring_keeps_its_key_for_a_release(machine: Machine) -> None:
    """max-age=0 alone does not end what an app carries."""
    add(machine)
    requests.unpin(machine.workflow, SITE, NOW + DAY)
    machine.keep(SITE, SITE, NOW + DAY, max_age=1)
    machine.keep(SITE, SITE, NOW + 90 * DAY, max_age=1)
    assert machine.published(SITE).max_age == 0
    assert not machine.state(SITE).unpinned(NOW + 90 * DAY)
    assert machine.state(SITE).unpinned(YEAR)


def test_g2_release_comes_along_if_a_lineage_moves(machine: Machine) -> None:
    """The new keyring's key is not served at its names before it ends."""
    add(machine)
    machine.issue("other.test")
    machine.keep("other.test", "other")
    machine.keep(SITE, "other", NOW + DAY, pinned=True)
    requests.confirm(machine.workflow, "other", NOW + DAY)
    shared = machine.members("other")["other.test"]
    assert machine.renew(SITE, "other", NOW + 100 * DAY) != shared
    assert machine.renew(SITE, "other", YEAR + DAY) == shared


def test_g2_pins_that_are_not_served_yet_are_not_to_be_carried(machine: Machine) -> None:
    """Apache may still serve a key that has left them; once it has loaded them, they are."""
    machine.keep(SITE, SITE, NOW + HOUR, pinned=True, reload_command="", max_age=5)
    with pytest.raises(BadRelease, match=r"certbot-pinkeep confirm pin\.test"):
        add(machine)
    requests.confirm(machine.workflow, SITE, NOW + 2 * HOUR)
    assert add(machine).pins == machine.published(SITE).pins


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda m: requests.unpin(m.workflow, SITE, NOW), "leaves pinning"),
        (lambda m: requests.ask(m.workflow, SITE, NOW, compromised=True), "compromised"),
    ],
)
def test_g10_nothing_is_to_carry_such_pins(machine: Machine, prepare: object, words: str) -> None:
    """It would spread them."""
    assert callable(prepare)
    prepare(machine)
    before = machine.workflow.store.path(SITE)
    content = Path(before).read_bytes()
    with pytest.raises(BadRelease, match=words):
        add(machine)
    assert Path(before).read_bytes() == content


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("tomorrow", "Write the last day as"),
        ("2026-13-01", "Write the last day as"),
        ("2026-02-28", "that is over"),
        ("2026-03-01T11:59:59Z", "that is over"),
        ("2036-12-01", "more than ten years"),
        ("9999-12-31", "more than ten years"),
        ("20270301", "Write the last day as"),
    ],
)
def test_g10_date_that_cannot_be(written: str, words: str) -> None:
    """The option and the value are named."""
    with pytest.raises(BadRelease, match=words) as caught:
        releases.until(written, NOW)
    assert f"--until {written!r}" in str(caught.value)


def test_day_counts_to_its_end() -> None:
    """In UTC; a time is taken as it is."""
    assert times.text(releases.until("2026-03-01", NOW)) == "2026-03-02T00:00:00Z"
    assert times.text(releases.until("2026-03-01T12:00:01Z", NOW)) == "2026-03-01T12:00:01Z"


# The command


@pytest.fixture
def at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stands at NOW."""
    monkeypatch.setattr(clock, "now", lambda: NOW)


def run(machine: Machine, *words: str) -> int:
    """Run the command on the machine."""
    dirs = ["--config-dir", str(machine.config), "--work-dir", str(machine.work)]
    return main.main([*words, *dirs])


IOS = ("--channel", "ios", "--label", "3.2")


def test_command_adds_lists_and_ends(
    machine: Machine, at_noon: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each says what it did, and until when."""
    assert run(machine, "release", SITE, "list") == 0
    assert "has no release on record" in capsys.readouterr().out
    assert run(machine, "release", SITE, "add", *IOS, "--until", "2027-03-01", "--ttl", "60") == 0
    pins_ = machine.published(SITE).pins
    told = capsys.readouterr().out
    assert "until 2027-03-02T00:01:00Z no rollover locks out ios 3.2" in told
    assert told.splitlines()[2:] == [f"  {pin}" for pin in pins_]
    assert run(machine, "release", SITE, "extend", *IOS, "--until", "2027-03-02") == 0
    assert "until 2027-03-03T00:01:00Z no rollover locks out ios 3.2" in capsys.readouterr().out
    assert run(machine, "release", SITE, "list") == 0
    told = capsys.readouterr().out
    assert "ios 3.2: 3 pins" in told and told.splitlines()[1:] == [f"  {pin}" for pin in pins_]
    assert run(machine, "status", SITE) == 0
    assert "ios 3.2: 3 pins" in capsys.readouterr().out
    assert run(machine, "release", SITE, "end", *IOS) == 0
    assert "Clients hold it until 2026-03-01T12:01:00Z" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("add", *IOS, "--until", "now"), "--until 'now'"),
        (("add", *IOS, "--until", "2027-01-01", "--ttl", "1h"), "--ttl '1h'"),
        (("add", "--channel", " ", "--label", "1", "--until", "2027-01-01"), "--channel ' '"),
        (("add", "--channel", "ios", "--label", "a\nb", "--until", "2027-01-01"), "--label"),
        (("end", *IOS), "has no release ios 3.2. Releases on record: none"),
        (("extend", *IOS, "--until", "2027-01-01"), "has no release ios 3.2"),
    ],
)
def test_g10_command_refuses_with_one_line(
    machine: Machine,
    at_noon: None,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    told: str,
) -> None:
    """Exit code 1, and nothing on record."""
    assert run(machine, "release", SITE, *words) == 1
    printed = capsys.readouterr()
    assert told in printed.err and printed.err.count("\n") == 1 and printed.out == ""
    assert machine.state(SITE).ledger.releases == ()


def test_g10_unknown_keyring_is_named(machine: Machine) -> None:
    """With those that there are."""
    with pytest.raises(PinkeepError, match=r"no keyring 'x'\. Keyrings here: pin\.test"):
        releases.end(machine.workflow, releases.ReleaseRequest("x", "ios", "1"), NOW)


# What went wrong once


def test_g2_certificate_takes_no_name_at_which_a_release_lacks_its_key(tmp_path: Path) -> None:
    """The other certificate of the keyring was rolled over to what the app does not know."""
    machine, now = Machine(tmp_path), NOW + DAY
    machine.issue("a.test")
    machine.keep("a.test", "K")
    carried = releases.add(
        machine.workflow, releases.ReleaseRequest("K", "ios", "1", YEAR), NOW
    ).pins
    machine.new("c.test", "K", now)
    pin = carried[0]
    while pin in carried:
        now += 70 * DAY
        pin = machine.renew("c.test", "K", now, rollover_days=0)
    assert now < YEAR
    live, before = machine.look("c.test"), tree(machine.config)
    chosen = machine.options("K", rollover_days="never")

    def handed(host: str, at: datetime) -> str:
        return machine.workflow.handover(live, "K", ("c.test", host), at, chosen=chosen).pin

    with pytest.raises(NotAccepted, match=r"a\.test as well\. .* the release ios 1"):
        handed("a.test", now)
    assert tree(machine.config) == before
    assert handed("d.test", now) == handed("a.test", YEAR + DAY) == pin


def test_g2_lineage_without_pins_takes_no_pinned_name(tmp_path: Path) -> None:
    """It has a key of its own, and is to join by the renewal that adds the name."""
    machine = Machine(tmp_path)
    machine.issue("a.test")
    machine.keep("a.test", "K")
    machine.issue("c.test")
    chosen = machine.options("K")
    state = machine.state("K")
    machine.workflow.store.save(
        replace(state, ledger=state.ledger.with_uncertainty("it was lost", NOW + 60 * DAY))
    )
    with pytest.raises(NotAccepted, match=r"with a\.test as well"):
        machine.workflow.handover(
            machine.look("c.test"), "K", ("c.test", "a.test"), NOW + DAY, chosen=chosen
        )


def test_g2_release_that_is_added_again_forgets_nothing(tmp_path: Path) -> None:
    """What is out there has the names, the subdomains and the TTL that it had."""
    machine = Machine(tmp_path)
    machine.issue("a.test")
    machine.keep("a.test", "K")
    machine.new("b.test", "K", NOW)
    machine.keep("a.test", "K", NOW, pinned=True, include_subdomains=True)
    zone = ("K", "dns", "zone")
    releases.add(machine.workflow, releases.ReleaseRequest(*zone, YEAR, 90 * DAY), NOW)
    machine.delete("b.test")
    machine.keep("a.test", "K", NOW + DAY, pinned=True)
    again = releases.add(
        machine.workflow, releases.ReleaseRequest(*zone, YEAR + DAY, None), NOW + 200 * DAY
    )
    assert again.hosts == ("a.test", "b.test") and again.subdomains
    assert again.binds_until(NOW) == YEAR + 91 * DAY
    # Resolvers have taken records with the longer TTL all the while.
    other = releases.add(
        machine.workflow, releases.ReleaseRequest(*zone, YEAR + 100 * DAY, HOUR), NOW + 200 * DAY
    )
    assert other.binds_until(NOW) == YEAR + 190 * DAY
    (gone,) = releases.end(machine.workflow, releases.ReleaseRequest(*zone), NOW + 201 * DAY)
    assert gone.binds_until(NOW) == NOW + 291 * DAY


def test_g2_release_that_is_out_is_recorded_with_the_pins_that_it_has(machine: Machine) -> None:
    """The record of it was lost, and the pins of today are others."""
    carried = add(machine).pins
    roll(machine, 1)
    for path in machine.workflow.store.paths(SITE):
        Path(path).unlink()
    machine.keep(SITE, SITE, NOW + 3 * DAY, pinned=True)
    found = releases.add(
        machine.workflow,
        releases.ReleaseRequest(SITE, "ios", "3.2", YEAR, None, carried),
        NOW + 3 * DAY,
    )
    assert found.pins == carried
    assert roll(machine, 100) == carried[2]
    with pytest.raises(NotSafe, match=r"the release ios 3\.2 carries pins without it"):
        roll(machine, 200)


@pytest.mark.parametrize(
    ("named", "why"),
    [
        (("nonsense",), "--pin 'nonsense': that is not the base64"),
        ((A, B), "none of these pins belongs to a key of the keyring"),
    ],
)
def test_g10_pins_that_cannot_be_a_releases(
    machine: Machine, named: tuple[str, ...], why: str
) -> None:
    """They are named, and nothing is recorded."""
    with pytest.raises(BadRelease, match=why):
        releases.add(
            machine.workflow, releases.ReleaseRequest(SITE, "ios", "3.2", YEAR, None, named), NOW
        )
    assert not machine.state(SITE).ledger.releases


def test_g2_release_of_a_keyring_that_was_left_pins_none_of_what_moved(tmp_path: Path) -> None:
    """The names that the exports of that keyring leave out; the other keyring would not know."""
    machine = Machine(tmp_path)
    for name, keyring in (("a.test", "A"), ("o.test", "B")):
        machine.issue(name)
        machine.keep(name, keyring, report_only=keyring == "A")
    machine.keep("a.test", "B", NOW + DAY, pinned=True)
    with pytest.raises(BadRelease, match="No certificate draws on the keyring A any more"):
        releases.add(
            machine.workflow, releases.ReleaseRequest("A", "ios", "1", YEAR), NOW + 2 * DAY
        )


def test_g2_certificate_that_came_past_the_keyring_goes_back_to_what_its_clients_accept(
    tmp_path: Path,
) -> None:
    """An app at its name knows the key that it had, and not the one that another one rolled to."""
    machine, now = Machine(tmp_path), NOW + DAY
    machine.issue("a.test")
    machine.keep("a.test", "K")
    carried = releases.add(
        machine.workflow, releases.ReleaseRequest("K", "ios", "1", YEAR), NOW
    ).pins
    machine.new("c.test", "K", now)
    primary = own = ""
    for _ in range(3):
        now += 70 * DAY
        primary = machine.renew("c.test", "K", now, rollover_days=0)
        own = machine.renew("a.test", "K", now, rollover_days=0)
    assert primary not in carried and own in carried
    machine.issue("a.test")
    assert machine.handed("a.test", "K", now + DAY, rollover_days="never").pin == own
    assert machine.handed("a.test", "K", YEAR + DAY, rollover_days="never").pin == primary


@pytest.fixture
def moved(tmp_path: Path) -> Machine:
    """Two lineages of keyring A with a release; one of them has moved to B for good."""
    machine = Machine(tmp_path)
    machine.issue("a.test")
    machine.keep("a.test", "A")
    machine.new("b.test", "A", NOW)
    releases.add(machine.workflow, releases.ReleaseRequest("A", "ios", "1", YEAR), NOW)
    machine.issue("o.test")
    machine.keep("o.test", "B")
    machine.keep("b.test", "B", NOW + DAY, pinned=True)
    requests.confirm(machine.workflow, "B", NOW + DAY)
    return machine


@pytest.mark.parametrize("told", ["A", "B"])
def test_g2_later_date_counts_wherever_a_lineage_brought_the_release(
    moved: Machine, told: str
) -> None:
    """Whichever keyring is told, and after the pins have changed; also its end."""
    requests.ask(moved.workflow, "A", NOW + 2 * DAY)
    moved.renew("a.test", "A", NOW + 2 * DAY)
    (found,) = releases.extend(
        moved.workflow,
        releases.ReleaseRequest(told, "ios", "1", YEAR + 100 * DAY, 30 * DAY),
        NOW + 3 * DAY,
    )
    assert found.binds_until(NOW) == YEAR + 130 * DAY
    for keyring, host in (("A", "a.test"), ("B", "b.test")):
        (one,) = moved.state(keyring).ledger.releases
        assert one.binds_until(NOW) == YEAR + 130 * DAY and one.binds_at((host,))
    releases.end(moved.workflow, releases.ReleaseRequest(told, "ios", "1"), NOW + 4 * DAY)
    for keyring in ("A", "B"):
        (one,) = moved.state(keyring).ledger.releases
        assert one.binds_until(NOW) == NOW + 34 * DAY


def test_g2_release_is_not_shortened_by_the_way(machine: Machine) -> None:
    """A date that was mistyped would let a rollover lock it out."""
    add(machine)
    before = machine.store_text(SITE)
    for change in (releases.add, releases.extend):
        with pytest.raises(BadRelease, match=r"later\."):
            change(machine.workflow, releases.ReleaseRequest(SITE, "ios", "3.2", YEAR - DAY), NOW)
    assert machine.store_text(SITE) == before


def test_label_of_a_release_that_ran_out_is_free(machine: Machine) -> None:
    """Nobody holds it, though no run has noted that yet."""
    add(machine)
    roll(machine, 1)
    found = releases.add(
        machine.workflow, releases.ReleaseRequest(SITE, "ios", "3.2", YEAR + 9 * DAY), YEAR + DAY
    )
    assert found.recorded == YEAR + DAY


def test_g8_end_that_is_told_by_a_clock_that_was_set_back_counts_from_the_latest_known_time(
    machine: Machine,
) -> None:
    """Resolvers hold the records for the TTL from now on, whenever now is."""
    add(machine, ttl=30 * 86400)
    machine.keep(SITE, SITE, NOW + 100 * DAY, pinned=True, max_age=60)
    (ended,) = releases.end(
        machine.workflow, releases.ReleaseRequest(SITE, "ios", "3.2"), NOW + 10 * DAY
    )
    assert ended.binds_until(NOW) >= NOW + 130 * DAY


def test_g3_release_of_any_name_can_be_kept_and_run_out(machine: Machine) -> None:
    """Quotes of both kinds in what is one list in the file."""
    label = "3.2 'a' \"b\", 100% # =\\"
    releases.add(machine.workflow, releases.ReleaseRequest(SITE, "Bob's app", label, YEAR), NOW)
    (found,) = machine.state(SITE).ledger.releases
    assert (found.channel, found.label) == ("Bob's app", label)
    machine.keep(SITE, SITE, YEAR + DAY, pinned=True)
    state = machine.state(SITE)
    assert not state.ledger.releases and state.ledger.past[-1].what == f"Bob's app {label}"


def test_g2_release_that_comes_along_twice_is_one(tmp_path: Path) -> None:
    """It was extended between the move and its confirmation; its end ends all of it."""
    machine = Machine(tmp_path)
    machine.issue("a.test")
    machine.keep("a.test", "A")
    machine.new("b.test", "A", NOW)
    releases.add(machine.workflow, releases.ReleaseRequest("A", "ios", "1", YEAR, 30 * DAY), NOW)
    machine.issue("o.test")
    machine.keep("o.test", "B")
    machine.keep("b.test", "B", NOW + DAY, pinned=True)
    releases.extend(
        machine.workflow, releases.ReleaseRequest("A", "ios", "1", YEAR + DAY), NOW + DAY
    )
    requests.confirm(machine.workflow, "B", NOW + 2 * DAY)
    (one,) = machine.state("B").ledger.releases
    assert one.until == YEAR + DAY
    releases.end(machine.workflow, releases.ReleaseRequest("B", "ios", "1"), NOW + 3 * DAY)
    (one,) = machine.state("B").ledger.releases
    assert one.binds_until(NOW) == NOW + 33 * DAY


def test_g2_releases_of_one_name_with_other_pins_are_two() -> None:
    """A lineage brought the other one along: each binds."""
    book = Ledger().record(policy(A, B), NOW).confirm(NOW).with_release(release(A, B))
    other = Ledger().with_release(release(C, D, days=100))
    both = book.with_imported(other, (SITE,))
    assert len(both.named("ios", "3.2")) == 2


def test_g8_no_release_counts_as_the_longest_time_that_a_policy_binds(machine: Machine) -> None:
    """Neither when it is recorded, nor when it is extended; its date may have been mistyped."""
    before = machine.state(SITE).ledger.longest_policy()
    releases.add(
        machine.workflow, releases.ReleaseRequest(SITE, "ios", "3.2", NOW + 300 * DAY), NOW
    )
    releases.extend(
        machine.workflow, releases.ReleaseRequest(SITE, "ios", "3.2", NOW + 3600 * DAY), NOW
    )
    assert machine.state(SITE).ledger.longest_policy() == before > timedelta(0)


def test_g8_confirmed_clock_waits_for_no_release(machine: Machine) -> None:
    """An app is used for a year; after a clock that ran wrong, rollovers go on when max-age is over."""
    add(machine)
    machine.keep(SITE, SITE, NOW + 500 * DAY, pinned=True)
    assert not machine.state(SITE).ledger.releases
    requests.confirm_clock(machine.workflow, SITE, NOW + DAY)
    ledger = machine.state(SITE).ledger
    assert [one.until for one in ledger.releases] == [YEAR]
    assert ledger.uncertain is None
    assert ledger.current is not None and not ledger.is_ahead_of(NOW + DAY)


def test_g2_release_that_comes_from_two_keyrings_binds_at_all_names_of_both() -> None:
    """And below them, if either pins subdomains; for the longer of both times."""
    one, two = release(A, B), replace(release(A, B, days=100), hosts=("b.test",), subdomains=True)
    for first, second in ((one, two), (two, one)):
        book = (
            Ledger()
            .with_release(first)
            .with_imported(Ledger().with_release(second), ("b.test", SITE))
        )
        (both,) = book.releases
        assert both.subdomains and set(both.hosts) == {SITE, "b.test"} and both.until == one.until


def test_g8_policy_that_ran_out_counts_for_how_long_a_loss_is_waited_for() -> None:
    """What was served meanwhile may bind as long as what was served not long ago."""
    book = Ledger().record(policy(A, B, max_age=90 * 86400), NOW).confirm(NOW)
    book = book.record(policy(A, B, max_age=60), NOW + DAY).confirm(NOW + DAY)
    book = book.prune(NOW + 200 * DAY)
    assert len(book.entries) == 1 and book.longest_policy() == 90 * DAY


def test_g8_loss_of_the_file_is_not_waited_for_as_long_as_a_release(machine: Machine) -> None:
    """The copy knows what apps carry; only what was served meanwhile is not known."""
    add(machine, days=0)
    Path(machine.workflow.store.path(SITE)).unlink()
    machine.keep(SITE, SITE, NOW + DAY, pinned=True)
    ledger = machine.state(SITE).ledger
    assert len(ledger.releases) == 1
    until = NOW + DAY + timedelta(seconds=machine.max_age())
    assert ledger.uncertain is not None and ledger.uncertain.end == until


def test_loss_of_the_record_asks_for_the_releases(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """File and copy: the snippet alone does not know of them."""
    for path in machine.workflow.store.paths(SITE):
        Path(path).unlink()
    machine.keep(SITE, SITE, NOW + DAY, pinned=True)
    assert f"certbot-pinkeep release {SITE} add --channel CHANNEL --label LABEL" in caplog.text


def test_what_only_a_release_forbids_is_said_with_its_name(tmp_path: Path) -> None:
    """Another keyring, another key type, unpin and delete: nobody would find it else."""
    machine, later = Machine(tmp_path), NOW + 100 * DAY
    machine.issue("a.test")
    machine.keep("a.test", "K", max_age=60)
    releases.add(machine.workflow, releases.ReleaseRequest("K", "my app", "1", YEAR), NOW)
    machine.keep("a.test", "K", later, pinned=True, max_age=60)
    end_ = "certbot-pinkeep release K end --channel 'my app' --label 1"
    machine.issue("b", hosts=("a.test",))
    with pytest.raises(OtherKeyring, match=f"(?s)the release my app 1 carries pins .* {end_}"):
        machine.keep("b", "other", later)
    with pytest.raises(TypeMissing, match="the release my app 1 carries pins without it until"):
        machine.workflow.handover_new("r", "K", "rsa", ("a.test",), False, later, kind=RSA)
    requests.unpin(machine.workflow, "K", later)
    machine.keep("a.test", "K", later, pinned=True, max_age=60)
    assert end_ in explain.unpinning(machine.state("K"), later + DAY)
    machine.delete("a.test")
    (told,) = requests.note_deleted(machine.workflow, later)
    assert end_ in told


def test_g5_end_that_was_killed_between_two_keyrings_can_be_told_again(
    moved: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keyring that is told is changed last: until then it is not done there."""
    save = store.Store.save
    left = [1]

    def killed(self: store.Store, state: State) -> State:
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return save(self, state)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(store.Store, "save", killed)
        releases.end(moved.workflow, releases.ReleaseRequest("A", "ios", "1"), NOW + 4 * DAY)
    releases.end(moved.workflow, releases.ReleaseRequest("A", "ios", "1"), NOW + 4 * DAY)
    for keyring in ("A", "B"):
        assert not [one for one in moved.state(keyring).ledger.releases if one.may_bind(YEAR)]


def test_g2_nothing_is_to_carry_pins_that_a_live_certificate_is_not_among(
    machine: Machine, at_noon: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was renewed without pinkeep, and is served: neither recorded nor exported."""
    foreign = machine.issue(SITE)
    with pytest.raises(BadRelease, match=rf"(?s)pin {re.escape(foreign)}.*--cert-name pin\.test"):
        add(machine)
    assert run(machine, "export", SITE, "--format", "curl") == 1
    assert foreign in capsys.readouterr().err
    assert run(machine, "export", SITE, "--format", "header") == 0
