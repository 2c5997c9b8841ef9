"""What is asked of a keyring between renewals: recorded when it locks nobody out, else refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest

from certbot_pinkeep.carriers import apache
from certbot_pinkeep.core import rollover
from certbot_pinkeep.core.errors import Compromised, DamagedState, NotSafe, PinkeepError
from certbot_pinkeep.workflow import requests
from simulated.machine import Site
from simulated.values import DAY, NOW, tree

AT = NOW + 20 * DAY
SAFE_FROM = "2026-05-10T12:00:00Z"  # day 70, if a rollover was on day 10


SITUATIONS: dict[str, Callable[[Site], None]] = {
    "safe": lambda world: None,
    "unsafe": lambda world: world.roll_over(10),
    "no backup": lambda world: world.file_of(world.published().pins[1]).unlink(),
}


@dataclass(frozen=True)
class Expected:
    """What a request leads to.

    :ivar error: the error, if it is refused
    :ivar next_day: the pin of day 21's renewal: the ``old`` or the ``new`` one, or ``none``
    :ivar forced: whether the backup is chosen, whoever is locked out
    """

    error: type[NotSafe] | None
    next_day: str
    ready: bool = False
    forced: bool = False


#: By situation, --when-safe, --compromised and --force.
OUTCOMES: dict[tuple[str, bool, bool, bool], Expected] = {
    ("safe", False, False, False): Expected(None, "new", ready=True),
    ("safe", False, False, True): Expected(None, "new", ready=True),
    ("safe", False, True, False): Expected(None, "new", ready=True),
    ("safe", False, True, True): Expected(None, "new", ready=True),
    ("safe", True, False, False): Expected(None, "new", ready=True),
    ("safe", True, False, True): Expected(None, "new", ready=True),
    ("safe", True, True, False): Expected(None, "new", ready=True),
    ("safe", True, True, True): Expected(None, "new", ready=True),
    ("unsafe", False, False, False): Expected(NotSafe, "old"),
    ("unsafe", False, False, True): Expected(None, "new", ready=True, forced=True),
    ("unsafe", False, True, False): Expected(Compromised, "none"),
    ("unsafe", False, True, True): Expected(None, "new", ready=True, forced=True),
    ("unsafe", True, False, False): Expected(None, "old"),
    ("unsafe", True, False, True): Expected(None, "new", ready=True, forced=True),
    ("unsafe", True, True, False): Expected(None, "none"),
    ("unsafe", True, True, True): Expected(None, "new", ready=True, forced=True),
    ("no backup", False, False, False): Expected(NotSafe, "old"),
    ("no backup", False, False, True): Expected(NotSafe, "old"),
    ("no backup", False, True, False): Expected(Compromised, "none"),
    ("no backup", False, True, True): Expected(Compromised, "none"),
    ("no backup", True, False, False): Expected(None, "old"),
    ("no backup", True, False, True): Expected(NotSafe, "old"),
    ("no backup", True, True, False): Expected(None, "none"),
    ("no backup", True, True, True): Expected(Compromised, "none"),
}


def test_every_request_is_in_the_table() -> None:
    """No combination is left out."""
    assert set(OUTCOMES) == set(product(SITUATIONS, *[(False, True)] * 3))


@pytest.mark.parametrize(
    ("situation", "when_safe", "compromised", "force"),
    OUTCOMES,
    ids=lambda value: value if isinstance(value, str) else "x" if value else "-",
)
def test_g2_g3_request(
    world: Site, situation: str, when_safe: bool, compromised: bool, force: bool
) -> None:
    """The table above. What is refused leaves everything as it was, byte for byte, but for the
    mark that a key is compromised."""
    expected = OUTCOMES[situation, when_safe, compromised, force]
    SITUATIONS[situation](world)
    old, new = world.published().pins
    folders = (world.config, world.work)
    before = tree(*folders)
    asked, error = None, None
    try:
        asked = world.ask(when_safe=when_safe, compromised=compromised, force=force)
    except NotSafe as caught:
        error = caught
    assert type(error) is (expected.error or type(None))
    assert (asked is not None and asked.ready) == expected.ready
    if error is not None and not compromised:
        assert tree(*folders) == before
    else:
        changed = {path for path, seen in tree(*folders).items() if before[path] != seen}
        assert len(changed) == 2 and all(path.endswith("/example.com.conf") for path in changed)
    assert world.key_of(old).role == ("compromised" if compromised else "primary")
    assert world.key_of(new).forced == expected.forced
    assert bool(world.key_of(old).retire_reason) == (error is None and not compromised)
    try:
        issued_for = {old: "old", new: "new"}[world.next_pin(21)]
    except Compromised:
        issued_for = "none"
    assert issued_for == expected.next_day


def test_g2_refusal_names_the_time_and_what_to_run(world: Site) -> None:
    """The earliest safe time, and the command that waits for it."""
    world.roll_over(10)
    with pytest.raises(NotSafe) as caught:
        world.ask()
    said = str(caught.value)
    assert SAFE_FROM in said and "certbot-pinkeep rollover example.com --when-safe" in said


def test_g2_force_tells_first_who_is_locked_out(world: Site) -> None:
    """The policy, since when, until when; then what is going to happen."""
    world.roll_over(10)
    first, second = world.ask(force=True).told
    assert first == (
        "This rollover locks out clients that noted the pins served from 2026-03-01T12:00:00Z to "
        f"2026-03-11T12:00:00Z, until {SAFE_FROM}."
    )
    assert world.published().pins[1] in second


def test_force_that_locks_nobody_out_says_so(world: Site) -> None:
    """A safe rollover can be forced as well."""
    assert world.ask(force=True).told[0] == "This rollover locks nobody out."


def test_g8_request_in_doubt_is_refused(world: Site) -> None:
    """The keyring file was lost: what its copy says is not certain."""
    world.file.unlink()
    before = world.tree()
    with pytest.raises(NotSafe, match="was lost"):
        world.ask()
    assert world.tree() == before


def test_g8_request_with_a_clock_that_is_behind_is_refused(world: Site) -> None:
    """A run that changed nothing on day 30 is enough to know."""
    world.run(30)
    with pytest.raises(NotSafe, match="was reached before"):
        world.ask()


def test_g8_time_of_a_request_is_remembered(world: Site) -> None:
    """After a request on day 20, a clock that says day 19 is wrong."""
    world.ask(when_safe=True)
    assert world.state().ledger.latest() == AT


def test_unknown_keyring_is_an_error_that_names_the_known_ones(world: Site) -> None:
    """For every request, and nothing is written."""
    before = tree(world.config, world.work)
    workflow = world.workflow
    for request in (
        lambda: requests.ask(workflow, "other", AT),
        lambda: requests.confirm(workflow, "other", AT),
        lambda: requests.unpin(workflow, "other", AT),
    ):
        with pytest.raises(PinkeepError, match=r"no keyring 'other'.*example\.com"):
            request()
    assert tree(world.config, world.work) == before


def test_g8_damaged_keyring_is_an_error(world: Site) -> None:
    """For every request, and the file is left as it is."""
    world.file.write_bytes(b"junk")
    workflow = world.workflow
    for request in (
        lambda: requests.ask(workflow, world.name, AT, when_safe=True, compromised=True),
        lambda: requests.confirm(workflow, world.name, AT),
        lambda: requests.unpin(workflow, world.name, AT),
    ):
        with pytest.raises(DamagedState):
            request()
    assert world.file.read_bytes() == b"junk"


# Confirming


@pytest.fixture
def waiting(tmp_path: Path) -> Site:
    """A lineage that is pinned, whose admin reloads Apache."""
    found = Site(tmp_path, backups=1)
    found.by_hand = True
    found.run(0)
    return found


def test_confirmation_ends_what_was_pending(waiting: Site) -> None:
    """From then on the pins are served, those of before no more; the live key is in service."""
    waiting.backups = 2
    waiting.run(1)
    assert waiting.state().ledger.pending
    assert "2026-03-02T12:00:00Z" in waiting.confirm(9)
    ledger = waiting.state().ledger
    assert not ledger.pending and ledger.entries[0].replaced == NOW + 9 * DAY
    assert ledger.entries[1].confirmed == NOW + 9 * DAY


def test_confirmation_begins_the_service_of_a_new_key(waiting: Site) -> None:
    """The age of a key that was rolled over to counts from then."""
    waiting.confirm(0)
    new = waiting.published().pins[1]
    waiting.issue(waiting.key_pem(new))
    waiting.run(10)
    assert waiting.key_of(new).first_served is None
    waiting.confirm(12)
    assert waiting.key_of(new).first_served == NOW + 12 * DAY


def test_nothing_pending_is_no_error_and_changes_nothing(world: Site) -> None:
    """An admin may confirm twice."""
    before = tree(world.config, world.work)
    assert "nothing pending" in world.confirm(5)
    assert tree(world.config, world.work) == before


EDITS: dict[str, Callable[[Site], object]] = {
    "another max-age": lambda w: w.snippet.write_text(
        w.snippet.read_text().replace("max-age=5184000", "max-age=9")
    ),
    "no header": lambda w: w.snippet.write_text("# nothing\n"),
    "no file": lambda w: w.snippet.unlink(),
    "two headers": lambda w: w.snippet.write_text(
        w.snippet.read_text() + "Header unset Public-Key-Pins\n"
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_g2_edited_snippet_cannot_be_confirmed(waiting: Site, name: str) -> None:
    """What Apache has loaded is not what is on record."""
    EDITS[name](waiting)
    before = tree(waiting.config, waiting.work)
    with pytest.raises(PinkeepError, match=r"is not what was published(?s:.*)certbot renew"):
        waiting.confirm(1)
    assert tree(waiting.config, waiting.work) == before


def test_edited_comments_do_not_matter(waiting: Site) -> None:
    """Apache does not read them."""
    waiting.snippet.write_text("# mine\n\n" + waiting.snippet.read_text())
    waiting.confirm(1)
    assert not waiting.state().ledger.pending


def test_g8_confirmation_with_a_clock_that_is_behind_is_refused(waiting: Site) -> None:
    """How long the earlier pins were served cannot be told from that clock."""
    waiting.backups = 2
    waiting.run(10)
    before = tree(waiting.config, waiting.work)
    with pytest.raises(PinkeepError, match="was reached before"):
        waiting.confirm(9)
    assert tree(waiting.config, waiting.work) == before
    waiting.confirm(10)
    assert not waiting.state().ledger.pending


def test_g8_admin_can_say_that_the_clock_is_right(world: Site) -> None:
    """After a run with a clock far ahead, what expired by it binds again, until its own end: a key that
    it lacks is safe then, one that it has at once."""
    world.backups = 2
    world.run(500)
    with pytest.raises(NotSafe, match=r"confirm example\.com --clock"):
        world.ask()
    told = requests.confirm_clock(world.workflow, world.name, AT)
    assert "2026-05-20T12:00:00Z" in told  # day 20 + 60
    world.run(21)
    state, now = world.state(), NOW + 22 * DAY
    assert not state.ledger.pending
    _, early, late = (world.key_of(pin) for pin in world.published().pins)
    assert rollover.safety(early, state.ledger, now).at(now)
    assert rollover.safety(late, state.ledger, now).since == NOW + 80 * DAY
    assert requests.ask(world.workflow, world.name, now).ready
    assert "no later time" in requests.confirm_clock(world.workflow, world.name, NOW + 82 * DAY)


def test_g8_confirmation_in_doubt_is_refused(waiting: Site) -> None:
    """Only a run finds out what is published."""
    waiting.file.unlink()
    with pytest.raises(PinkeepError, match=r"was lost.\nRun: certbot renew"):
        waiting.confirm(1)
    waiting.run(2)
    waiting.confirm(2)
    assert not waiting.state().ledger.pending


def test_keyring_without_a_snippet_has_nothing_to_confirm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first run that was ended before it published anything."""

    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    found = Site(tmp_path, backups=1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(apache, "publish", killed)
        found.run(0)
    with pytest.raises(PinkeepError, match=r"(?s)publishes nothing yet.*certbot renew"):
        found.confirm(1)


# Leaving pinning


def unpin(world: Site, days: int, undo: bool = False) -> list[str]:
    """The admin leaves pinning."""
    return requests.unpin(world.workflow, world.name, NOW + days * DAY, undo=undo)


def header(world: Site) -> list[str]:
    """What Apache reads of the snippet."""
    return apache.directives(world.snippet.read_text())


def test_unpinning_serves_max_age_0_until_nothing_binds(world: Site) -> None:
    """Then no header at all, and a run after that changes nothing."""
    pins = world.published().pins
    assert unpin(world, 10) == ["example.com"]
    assert world.published().max_age == 60 * 86400
    for day in (10, 69):
        assert not world.run(day).unpinned
        assert (world.published().max_age, world.published().pins) == (0, pins)
    assert world.run(70).unpinned
    assert header(world) == []
    before = tree(world.config)
    assert world.run(71).settled and tree(world.config) == before


def test_unpinning_twice_is_unpinning_once(world: Site) -> None:
    """The second request writes nothing."""
    unpin(world, 10)
    before = tree(world.config, world.work)
    assert unpin(world, 11) == ["example.com"]
    assert tree(world.config, world.work) == before


def test_undo_without_a_request_changes_nothing(world: Site) -> None:
    """It is pinned already."""
    before = tree(world.config, world.work)
    unpin(world, 5, undo=True)
    assert tree(world.config, world.work) == before


# Revocations


def other_world(world: Site, name: str) -> Site:
    """A second lineage in the same config dir."""
    found = Site(world.root, name, backups=1, machine=world.machine)
    found.run(0)
    return found


def note(world: Site, pin: str, compromised: bool = False, days: int = 20) -> list[str]:
    """Note a revocation."""
    return requests.note_revoked(world.workflow, pin, NOW + days * DAY, compromised=compromised)


def test_revocation_is_noted_and_told(world: Site) -> None:
    """The next renewal rolls over."""
    old, new = world.published().pins
    assert [new in sentence for sentence in note(world, old)] == [True]
    assert world.key_of(old).retire_reason == "revoked" and world.next_pin(21) == new


def test_g3_revocation_while_nothing_is_safe(world: Site) -> None:
    """It is told from when it will be; a compromised key is not handed over until then."""
    world.roll_over(10)
    old, _ = world.published().pins
    assert SAFE_FROM in note(world, old)[0] and world.next_pin(21) == old
    assert "--now --force" in note(world, old, True)[0]
    with pytest.raises(Compromised):
        world.next_pin(21)


def test_revocation_of_a_backup_calls_for_no_rollover(world: Site) -> None:
    """Compromised: it is no backup any more, and the next run stages another one."""
    old, new = world.published().pins
    assert note(world, new, True) == []
    assert world.key_of(new).role == "compromised"
    world.run(21)
    assert world.published().pins[0] == old and new not in world.published().pins


def test_g9_unknown_key_writes_nothing(world: Site) -> None:
    """A certificate that is not pinned was revoked."""
    before = tree(world.config, world.work)
    assert note(world, "unknown", True) == []
    assert tree(world.config, world.work) == before


def test_revocation_is_noted_in_each_keyring_that_has_the_key(world: Site) -> None:
    """One certificate's key can be another one's; other keyrings are not touched."""
    second, third = other_world(world, "second.test"), other_world(world, "third.test")
    second.issue(world.key, second.names)
    (world.config / "pinkeep" / "second.test.conf").unlink()
    (world.work / "pinkeep").rename(world.work / "forgotten")
    second.snippet.unlink()
    second.run(1)
    before = third.file.read_bytes()
    assert len(note(world, world.published().pins[0])) == 2
    for one in (world, second):
        assert one.key_of(world.published().pins[0]).retire_reason == "revoked"
    assert third.file.read_bytes() == before


def test_g8_damaged_file_does_not_keep_the_others_from_being_noted(world: Site) -> None:
    """It comes first, and is told last; what cannot be read is not touched."""
    other = other_world(world, "aaa.test")
    other.file.write_bytes(b"junk")
    old = world.published().pins[0]
    with pytest.raises(DamagedState) as caught:
        note(world, old, True)
    assert caught.value.path == str(other.file) and other.file.read_bytes() == b"junk"
    assert world.key_of(old).role == "compromised"


def test_g8_revocation_is_noted_though_the_file_was_lost(world: Site) -> None:
    """What is known of the key from the copy is enough to never hand it over again."""
    old = world.published().pins[0]
    os.unlink(world.file)
    note(world, old, True)
    with pytest.raises(Compromised):
        world.next_pin(21)
