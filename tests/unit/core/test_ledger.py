"""The history of policies: the rules at the top of the module, one by one."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbot_pinkeep.core import rollover
from certbot_pinkeep.core.errors import BadPolicy
from certbot_pinkeep.core.holdings import Entry, Release
from certbot_pinkeep.core.keyring import Key
from certbot_pinkeep.core.kinds import KeyKind
from certbot_pinkeep.core.ledger import MOST_EXPIRED, Ledger, Uncertainty
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.storage import keyring_file
from simulated.values import (
    DAY,
    HOUR,
    NOW,
    A,
    B,
    C,
    fake_pin,
    file_sections,
    policy,
    policy_strategy,
    sections,
)

FIRST, SECOND, THIRD = policy(A, B), policy(B, C), policy(A, C)
Step = tuple[Literal["record", "confirm", "prune"], timedelta, Policy]


def steps(least: timedelta) -> st.SearchStrategy[list[Step]]:
    """What happens to a ledger, and by how much the clock moves before each step."""
    return st.lists(
        st.tuples(
            st.sampled_from(["record", "record", "confirm", "prune"]),
            st.timedeltas(least, 90 * DAY).map(lambda d: timedelta(seconds=int(d.total_seconds()))),
            policy_strategy(),
        ),
        max_size=12,
    )


def take(before: Ledger, step: Step, now: datetime) -> Ledger:
    """The ledger after one step."""
    action, _, given_policy = step
    if action == "record":
        return before.record(given_policy, now)
    return before.confirm(now) if action == "confirm" else before.prune(now)


def history(taken: list[Step]) -> tuple[Ledger, datetime]:
    """The ledger after all steps, and the clock then."""
    found, now = Ledger(), NOW
    for step in taken:
        now += step[1]
        found = take(found, step, now)
    return found, now


def test_recorded_policy_may_be_served_at_once() -> None:
    """From its record on a policy may be served, confirmed or not."""
    found = Ledger().record(FIRST, NOW)
    assert found.entries == (Entry(FIRST, NOW),)
    assert found.pending and found.may_be_served(FIRST) and not found.may_be_served(SECOND)
    assert found.confirmed_policy() is None


def test_same_policy_is_recorded_once() -> None:
    """A run that changes nothing leaves the ledger as it is."""
    found = Ledger().record(FIRST, NOW).confirm(NOW)
    assert found.record(FIRST, NOW + DAY) == found


def test_policy_that_comes_back_is_a_new_entry() -> None:
    """A, B, A: the second time of A has its own beginning, the first keeps its end."""
    found = Ledger().record(FIRST, NOW).confirm(NOW).record(SECOND, NOW + DAY).confirm(NOW + DAY)
    found = found.record(FIRST, NOW + 2 * DAY)
    assert [entry.policy for entry in found.entries] == [FIRST, SECOND, FIRST]
    assert [entry.replaced for entry in found.entries] == [NOW + DAY, None, None]


def test_only_a_later_confirmation_ends_a_policy() -> None:
    """While the later policy is only recorded, the earlier one may still be served."""
    found = Ledger().record(FIRST, NOW).confirm(NOW).record(SECOND, NOW + DAY)
    assert found.entries[0].replaced is None and found.may_be_served(FIRST)
    assert found.confirmed_policy() == FIRST
    ended = found.confirm(NOW + 2 * DAY)
    assert ended.entries[0].replaced == NOW + 2 * DAY and not ended.may_be_served(FIRST)
    assert ended.entries[1] == Entry(SECOND, NOW + DAY, NOW + 2 * DAY)


def test_confirmation_ends_all_earlier_ones() -> None:
    """Several policies were pending when Apache was reloaded at last: all of them end."""
    found = Ledger().record(FIRST, NOW).record(SECOND, NOW).record(THIRD, NOW).confirm(NOW + DAY)
    assert [entry.replaced for entry in found.entries] == [NOW + DAY, NOW + DAY, None]
    assert [entry.confirmed for entry in found.entries] == [None, None, NOW + DAY]


def test_second_confirmation_moves_nothing() -> None:
    """An end, once known, is never moved: neither later nor earlier."""
    found = Ledger().record(FIRST, NOW).record(SECOND, NOW).confirm(NOW + DAY)
    assert found.confirm(NOW + 9 * DAY) == found


def test_confirm_and_reopen_of_an_empty_ledger_do_nothing() -> None:
    """There is nothing to confirm before the first policy."""
    assert Ledger().confirm(NOW) == Ledger() == Ledger().reopen()
    assert Ledger().current is None and Ledger().latest() is None and not Ledger().pending


def test_reopened_policy_waits_for_apache_again() -> None:
    """A snippet that was changed by hand has to be loaded anew; earlier ends stay."""
    found = Ledger().record(FIRST, NOW).record(SECOND, NOW).confirm(NOW).reopen()
    assert found.pending and found.entries[0].replaced == NOW
    assert found.confirm(NOW + DAY).entries[1].confirmed == NOW + DAY


def test_policy_binds_by_its_own_max_age() -> None:
    """It binds until its end plus the max-age of its time, whatever today's is (§2.3.1)."""
    found = Ledger().record(policy(A, B, max_age=10 * 86400), NOW).confirm(NOW)
    found = found.record(policy(A, B, max_age=60), NOW).confirm(NOW + DAY)
    assert found.entries[0].binds_until(NOW + 5 * DAY) == NOW + 11 * DAY


def test_policy_that_may_be_served_binds_from_now() -> None:
    """As long as its end is unknown, each visit renews it (§2.3.3)."""
    found = Ledger().record(policy(A, B, max_age=60), NOW)
    later = NOW + 100 * DAY
    assert found.entries[0].binds_until(later) == later + timedelta(seconds=60)


def test_binding_lists_what_binds_at_a_time() -> None:
    """What has run out by then is left out, to the second."""
    found = Ledger().record(policy(A, B, max_age=86400), NOW).record(SECOND, NOW).confirm(NOW)
    assert [one.pins for one in found.binding(NOW + DAY - HOUR)] == [(A, B), (B, C)]
    assert [one.pins for one in found.binding(NOW + DAY)] == [(B, C)]


def test_prune_drops_what_binds_nobody() -> None:
    """Ended policies go when they have run out, and not a second earlier."""
    found = Ledger().record(policy(A, B, max_age=86400), NOW).record(SECOND, NOW).confirm(NOW)
    assert found.prune(NOW + DAY - timedelta(seconds=1)) == found
    assert [entry.policy for entry in found.prune(NOW + DAY).entries] == [SECOND]


def test_g2_same_policy_at_fewer_hosts_ends_at_the_others_once_it_is_loaded() -> None:
    """Until then it is served at all of them; at more hosts, nothing ends."""
    both = Ledger().record(FIRST, NOW, ("a.test", "b.test")).confirm(NOW)
    fewer = both.record(FIRST, NOW + DAY, ("a.test",))
    assert [one.hosts for one in fewer.entries] == [("a.test", "b.test"), ("a.test",)]
    assert fewer.confirm(NOW + DAY).entries[0].replaced == NOW + DAY
    pending = Ledger().record(FIRST, NOW, ("a.test", "b.test"))
    assert pending.record(FIRST, NOW + DAY, ("a.test",)) == pending
    more = both.record(FIRST, NOW + DAY, ("a.test", "b.test", "c.test"))
    assert [one.hosts for one in more.entries] == [("a.test", "b.test", "c.test")]


def test_g2_release_that_is_extended_is_carried_no_shorter() -> None:
    """Not even if a longer TTL makes up for an earlier date."""
    app = Release("ios", "1", (A, B), (), NOW, NOW + 9 * DAY, DAY)
    book = Ledger().with_release(app).extended(app, NOW + 5 * DAY, 9 * DAY)
    assert (book.releases[0].until, book.releases[0].ttl) == (NOW + 9 * DAY, 9 * DAY)


def test_prune_keeps_the_current_policy() -> None:
    """What is served stays on record, also when it binds nobody."""
    found = Ledger().record(policy(A, B, max_age=0), NOW).confirm(NOW)
    assert found.prune(NOW + 999 * DAY) == found


def test_g8_uncertainty_ends_in_time_and_is_never_forgotten() -> None:
    """It ends at its time, not before; and it is back with a clock that is set back."""
    found = Ledger().with_uncertainty("it was lost", NOW + DAY).prune(NOW + 9 * DAY)
    assert found.uncertainty(NOW + DAY - HOUR) == Uncertainty("it was lost", NOW + DAY)
    assert found.uncertainty(NOW + DAY) is None


@pytest.mark.parametrize("back", [timedelta(seconds=1), HOUR, 30 * DAY, 9999 * DAY])
def test_g8_clock_set_back_ends_nothing(back: timedelta) -> None:
    """A record is not dated before a known time; a confirmation before it changes nothing."""
    found = Ledger().record(FIRST, NOW).confirm(NOW).record(SECOND, NOW - back)
    assert found.entries == (Entry(FIRST, NOW, NOW), Entry(SECOND, NOW))
    assert found.is_ahead_of(NOW - back) and not found.is_ahead_of(NOW)
    assert found.confirm(NOW - back) == found and found.pending
    assert found.confirm(NOW).entries == (Entry(FIRST, NOW, NOW, NOW), Entry(SECOND, NOW, NOW))


def test_g8_clock_set_back_after_reopen_does_not_shorten_a_binding() -> None:
    """The first policy was known to be served on day 5: it does not end on day 1."""
    found = Ledger().record(FIRST, NOW).confirm(NOW + 5 * DAY).reopen()
    found = found.record(SECOND, NOW + DAY)
    assert found.confirm(NOW + DAY) == found and found.may_be_served(FIRST)
    assert found.confirm(NOW + 6 * DAY).entries[0].replaced == NOW + 6 * DAY


def test_policy_that_is_pending_twice_is_kept_once() -> None:
    """However often an admin goes to and fro before Apache is reloaded, the ledger stays small."""
    found = Ledger().record(THIRD, NOW).confirm(NOW)
    for _ in range(5):
        found = found.record(FIRST, NOW + DAY).record(SECOND, NOW + 2 * DAY)
    assert [entry.policy for entry in found.entries] == [THIRD, FIRST, SECOND]
    assert all(found.may_be_served(one) for one in (FIRST, SECOND, THIRD))


@pytest.mark.parametrize("ended", [False, True])
def test_g2_policy_that_was_served_is_not_merged_with_a_pending_one(ended: bool) -> None:
    """Only a pending one is replaced by its repetition: what was confirmed keeps its own time."""
    found = Ledger().record(FIRST, NOW).confirm(NOW).record(SECOND, NOW)
    found = found.confirm(NOW) if ended else found
    assert [e.policy for e in found.record(FIRST, NOW + DAY).entries] == [FIRST, SECOND, FIRST]


def test_g8_latest_known_time_stays() -> None:
    """A time that was reached makes an earlier clock wrong; an earlier one is nothing new."""
    found = Ledger().record(FIRST, NOW)
    assert found.with_latest_known(NOW) == found.with_latest_known(NOW - DAY) == found
    later = found.with_latest_known(NOW + DAY)
    assert later.latest() == NOW + DAY and later.entries == found.entries
    assert later.is_ahead_of(NOW + DAY - HOUR) and not later.is_ahead_of(NOW + DAY)
    assert later.with_latest_known(NOW + HOUR) == later
    assert Ledger().with_latest_known(NOW).latest() == NOW


def test_g8_uncertain_ledger_has_what_may_be_served_as_well() -> None:
    """Imported policies are on record from the latest known time on, each once; what was
    published last is still what is to be served."""
    found = Ledger().record(FIRST, NOW).confirm(NOW).record(SECOND, NOW + DAY).confirm(NOW + DAY)
    uncertain = found.contradicted("it was lost", [FIRST, SECOND, THIRD])
    assert uncertain.uncertainty(NOW + 999 * DAY) == Uncertainty("it was lost", cause="doubt")
    assert uncertain.entries[:2] == found.entries
    added = [Entry(one, NOW + DAY) for one in (FIRST, THIRD, SECOND)]
    assert uncertain.entries[2:] == tuple(added)
    assert uncertain.current == added[-1]
    assert all(uncertain.may_be_served(one) for one in (FIRST, SECOND, THIRD))
    assert found.contradicted("why", []).entries == found.entries


LOST, AGAIN = "it was lost", "it was lost again"


@pytest.mark.parametrize(
    ("noted", "found"),
    [
        ([(LOST, 5)], Uncertainty(LOST, NOW + 5 * DAY)),
        ([(LOST, None)], Uncertainty(LOST, None, "doubt")),
        ([(LOST, 5), (AGAIN, 9)], Uncertainty(AGAIN, NOW + 9 * DAY)),
        ([(LOST, 5), (AGAIN, 1)], Uncertainty(LOST, NOW + 5 * DAY)),
        ([(LOST, 5), (AGAIN, None)], Uncertainty(AGAIN, NOW + 5 * DAY, "doubt")),
        ([(LOST, None), (AGAIN, 5)], Uncertainty(LOST, NOW + 5 * DAY, "doubt")),
        ([(LOST, 5), (AGAIN, None), 9], Uncertainty(AGAIN, NOW + 9 * DAY)),
        ([(LOST, 5), (AGAIN, None), 1], Uncertainty(AGAIN, NOW + 5 * DAY)),
    ],
)
def test_g8_uncertainty_is_one_value_that_is_never_shortened(
    noted: list[tuple[str, int | None] | int], found: Uncertainty
) -> None:
    """A doubt counts first, and lasts until somebody looked into it; then what ends last counts."""
    book = Ledger()
    for one in noted:
        if isinstance(one, int):
            book = book.settled(NOW + one * DAY)
        else:
            why, days = one
            book = book.with_uncertainty(why, None if days is None else NOW + days * DAY)
    assert book.uncertain == found
    assert (
        Ledger().with_imported(book, ()).uncertain
        == book.with_imported(book, ()).uncertain
        == found
    )


def test_g8_longest_policy_is_of_those_that_expired_as_well() -> None:
    """Ended or not; a report-only one never counts."""
    assert Ledger().longest_policy() == timedelta(0)
    found = Ledger().record(policy(A, B, max_age=9 * 86400), NOW).record(SECOND, NOW).confirm(NOW)
    found = found.record(policy(A, C, max_age=99 * 86400, report_only=True), NOW)
    assert found.longest_policy() == 60 * DAY
    long = found.record(policy(A, C, max_age=99 * 86400), NOW).record(SECOND, NOW).confirm(NOW)
    assert long.prune(NOW + 400 * DAY).entries == long.entries[-1:]
    assert long.prune(NOW + 400 * DAY).longest_policy() == 99 * DAY


def test_g8_what_a_wrong_clock_made_expire_binds_again() -> None:
    """Later times count as now, and every policy binds until its own end, as if never pruned."""
    found = Ledger().record(FIRST, NOW).confirm(NOW)
    ahead = found.record(SECOND, NOW + 500 * DAY).confirm(NOW + 500 * DAY)
    forgot = ahead.prune(NOW + 900 * DAY)
    assert forgot.is_ahead_of(NOW + DAY) and len(forgot.known) == 1
    right, now = forgot.accept_clock(NOW + DAY), NOW + DAY
    assert not right.is_ahead_of(now) and right.uncertainty(now) is None
    assert right.current is not None and right.current.confirmed == now
    assert set(right.known) == set(ahead.accept_clock(now).known)
    assert found.accept_clock(NOW) == found


@given(steps(-90 * DAY), st.timedeltas(timedelta(0), 999 * DAY))
def test_g8_no_wrong_clock_makes_a_ledger_forget(taken: list[Step], ahead: timedelta) -> None:
    """However far ahead it was when the ledger was pruned: what binds without that binds after it."""
    found, now = history([step for step in taken if step[0] != "prune"])
    later = max(now, found.latest() or now) + ahead
    kept = found.with_latest_known(later).accept_clock(now)
    right = found.prune(later).with_latest_known(later).accept_clock(now)
    assert len(found.known) <= MOST_EXPIRED
    without, after = (
        {(one.pins, one.binds_until(now)) for one in book.binding(now)} for book in (kept, right)
    )
    assert without == after


NOTHING = policy(A, B, max_age=0)
SERVED = Ledger().record(FIRST, NOW).confirm(NOW)
LEFT = SERVED.record(NOTHING, NOW + DAY).confirm(NOW + DAY)


@pytest.mark.parametrize(
    ("found", "days", "nobody"),
    [
        (Ledger(), 0, True),
        (SERVED, 999, False),
        (SERVED.record(NOTHING, NOW + DAY), 999, False),
        (LEFT, 60, False),
        (LEFT, 61, True),
        (LEFT.prune(NOW + 61 * DAY), 61, True),
        (LEFT.prune(NOW + 61 * DAY), 60, False),
        (LEFT.contradicted("it was lost", []), 99, False),
        (LEFT.with_uncertainty("it was lost", NOW + 70 * DAY), 69, False),
        (LEFT.with_uncertainty("it was lost", NOW + 70 * DAY), 70, True),
        (LEFT.with_latest_known(NOW + 80 * DAY), 79, False),
        (LEFT.with_latest_known(NOW + 80 * DAY), 80, True),
        (Ledger().record(policy(A, B, report_only=True), NOW), 0, True),
    ],
)
def test_g2_binds_nobody_only_when_that_is_certain(found: Ledger, days: int, nobody: bool) -> None:
    """What may be served, doubt, blindness and a clock that is behind: none of them is certain."""
    assert found.binds_nobody(NOW + days * DAY) == nobody


def repeated(entry: Entry, recorded: Policy) -> bool:
    """Whether an entry is a pending one that is recorded once more."""
    return entry.policy == recorded and not entry.confirmed and not entry.replaced


@given(steps(-90 * DAY))
def test_g8_time_never_runs_backwards(taken: list[Step]) -> None:
    """Whatever the clock does: times only grow, ends stay, and no entry changes its policy."""
    found, now = Ledger(), NOW
    for step in taken:
        now += step[1]
        before, found = found, take(found, step, now)
        latest = before.latest()
        if latest is not None and step[0] != "prune" and found != before:
            assert (found.latest() or latest) >= latest
            kept = [e for e in before.entries if step[0] != "record" or not repeated(e, step[2])]
            for old, new in zip(kept, found.entries, strict=False):
                assert (old.policy, old.recorded) == (new.policy, new.recorded)
                if old.replaced is not None:
                    assert new.replaced == old.replaced
                elif new.replaced is not None:
                    assert new.replaced == now >= latest
        moments = [entry.recorded for entry in found.entries]
        assert moments == sorted(moments)


@given(steps(-90 * DAY), st.timedeltas(timedelta(0), 400 * DAY))
def test_g2_prune_never_drops_what_binds(taken: list[Step], wait: timedelta) -> None:
    """Exactly what has run out is dropped, and the rest stays in order."""
    found, now = history([step for step in taken if step[0] != "prune"])
    at = max(now, found.latest() or now) + wait
    kept = found.prune(at).entries
    assert list(kept) == [e for e in found.entries if e in kept]
    for entry in found.entries:
        has_run_out = entry.replaced is not None and entry.replaced + entry.policy.binding <= at
        assert (entry in kept) == (not has_run_out)
    assert kept[-1:] == found.entries[-1:]


@given(steps(-90 * DAY))
def test_text_round_trip(taken: list[Step]) -> None:
    """What is written is read again as the same entries."""
    found, _ = history(taken)
    assert keyring_file.read_holdings(file_sections(found.entries)) == found.entries


WHOLE = Ledger().record(FIRST, NOW).confirm(NOW + HOUR).record(SECOND, NOW + DAY).confirm(NOW + DAY)


@pytest.mark.parametrize(
    ("number", "name", "value"),
    [
        ("1", "replaced", "2026-02-28T12:00:00Z"),
        ("1", "replaced", "2026-03-01T12:30:00Z"),
        ("1", "confirmed", "2026-02-28T12:00:00Z"),
        ("1", "recorded", "2026-04-01T12:00:00Z"),
        ("1", "recorded", ""),
        ("1", "recorded", "yesterday"),
        ("1", "confirmed", "2026-03-01 13:00:00"),
        ("1", "recorded", ["2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z"]),
        ("1", "max_age", "-1"),
        ("1", "max_age", ""),
        ("1", "max_age", "60d"),
        ("1", "include_subdomains", "yes"),
        ("1", "report_only", ""),
        ("1", "pins", A),
        ("1", "pins", [A, A]),
        ("1", "pins", [A, "junk"]),
        ("1", "pins", []),
    ],
)
def test_g8_sections_that_contradict_are_rejected(
    number: str, name: str, value: str | list[str]
) -> None:
    """No end before its beginning, no disorder, no policy that could not have been published."""
    written = sections(file_sections(WHOLE.entries))
    assert keyring_file.read_holdings(written) == WHOLE.entries
    written[number][name] = value
    with pytest.raises((ValueError, KeyError, BadPolicy)):
        keyring_file.read_holdings(written)


@pytest.mark.parametrize("name", list(file_sections(WHOLE.entries)["1"]))
def test_g8_sections_with_something_missing_are_rejected(name: str) -> None:
    """Nothing that is missing is guessed at."""
    written = sections(file_sections(WHOLE.entries))
    del written["1"][name]
    with pytest.raises(KeyError):
        keyring_file.read_holdings(written)


@pytest.mark.parametrize("written", ["true", "1", "", "FALSE", "None"])
def test_read_bool_takes_only_what_str_writes(written: str) -> None:
    """True and False, and nothing that looks like them."""
    assert keyring_file.read_bool("True") and not keyring_file.read_bool("False")
    with pytest.raises(ValueError, match="neither"):
        keyring_file.read_bool(written)


def test_one_pin_in_a_section_is_not_taken_for_letters() -> None:
    """ConfigObj reads a list of one as text: that is one pin, too few, not 44 of them."""
    written = sections(file_sections(WHOLE.entries))
    written["1"]["pins"] = fake_pin("one")
    with pytest.raises(BadPolicy, match="two pins"):
        keyring_file.read_holdings(written)


def far_ahead(hosts: int) -> Ledger:
    """A ledger whose clock ran ahead. An earlier policy of the first host, which lacks B, expired too early.
    So did the last releases of many other hosts."""
    found = Ledger().record(THIRD, NOW - 20 * DAY, ("a.test",)).confirm(NOW - 20 * DAY)
    found = found.record(FIRST, NOW - 10 * DAY, ("a.test",)).confirm(NOW - 10 * DAY)
    for number in range(hosts):
        until = NOW + 200 * DAY
        one = Release("ios", str(number), (A, C), (f"{number}.test",), NOW, until)
        found = found.with_release(one)
    return found.prune(NOW + 700 * DAY)


def is_safe(found: Ledger, now: datetime, host: str) -> bool:
    """Whether switching to B locks nobody out at the host."""
    key = Key(B, KeyKind("ecdsa", "secp256r1"), "backup", None, NOW - 30 * DAY)
    return rollover.safety(key, found, now, (host,)).at(now)


def test_g8_clock_that_ran_ahead_is_known_to_the_keyring_that_takes_the_host() -> None:
    """It knows as little as the one before of what was ended too early."""
    ahead, now = far_ahead(0), NOW + DAY
    taken = Ledger().record(FIRST, now, ("a.test",)).with_imported(ahead, ("a.test",))
    assert taken.is_ahead_of(now) and not is_safe(taken, now, "a.test")
    assert not is_safe(taken.accept_clock(now).confirm(now).transferred(now), now, "a.test")
    assert is_safe(taken.accept_clock(now).confirm(now).transferred(now), NOW + 51 * DAY, "a.test")


@pytest.mark.parametrize("moved", ["kept", "taken", "left", "twice"])
def test_g8_what_is_not_kept_of_what_expired_binds_wherever_the_host_goes(moved: str) -> None:
    """More expired than is kept, and hosts change keyrings before the clock is set right."""
    ahead, now = far_ahead(MOST_EXPIRED), NOW + DAY
    assert len(ahead.expired) == MOST_EXPIRED
    if moved == "taken":
        ahead = Ledger().record(FIRST, now, ("a.test",)).with_imported(ahead, ("a.test",))
    elif moved == "left":
        ahead = ahead.without_hosts([f"{number}.test" for number in range(MOST_EXPIRED)])
    elif moved == "twice":
        ahead = ahead.accept_clock(NOW + 210 * DAY).prune(NOW + 210 * DAY)
    right = ahead.accept_clock(now).confirm(now).transferred(now)
    assert not is_safe(right, now, "a.test")
    assert is_safe(right, NOW + 201 * DAY, "a.test")


def test_hosts_of_the_keyrings_own_policies_are_not_looked_at() -> None:
    """One that was replaced before the server loaded it is nobody's header from before."""
    found = Ledger().record(FIRST, NOW, ("a.test",)).confirm(NOW)
    found = found.record(SECOND, NOW + DAY, ("a.test",)).record(THIRD, NOW + 2 * DAY, ("a.test",))
    assert found.confirm(NOW + 3 * DAY).sending(NOW + 3 * DAY) == ()


def test_g2_policy_that_may_have_been_served_anywhere_binds_at_every_host() -> None:
    """It is on record without its hosts."""
    found = Ledger().record(THIRD, NOW, ()).confirm(NOW)
    assert not is_safe(found, NOW + DAY, "a.test") and found.entries[0].binds_at(("a.test",))


def test_report_only_policy_that_waits_for_the_server_holds_nothing_back() -> None:
    """No client notes it (RFC 7469 §2.3.2)."""
    waiting = Ledger().record(Policy((A, C), 86400, report_only=True), NOW, ("a.test",))
    assert waiting.pending and is_safe(waiting, NOW + DAY, "a.test")


@pytest.mark.parametrize("hosts", [((), ("a.test",)), (("a.test",), ())])
def test_g2_release_that_may_be_for_any_host_stays_one(
    hosts: tuple[tuple[str, ...], tuple[str, ...]],
) -> None:
    """Also if it is known with hosts of another keyring."""
    one, other = (Release("ios", "1", (A, C), its, NOW, NOW + 9 * DAY) for its in hosts)
    assert one.also_at(other).binds_at(("other.test",))
