"""Admins who reload Apache themselves, and those who leave pinning: nobody is locked out (G2)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from e2e.reasons import COMMAND, RULE
from e2e.world import (
    DAY,
    HOUR,
    NAME,
    Pinned,
    changed,
    clock_at,
    refusal,
    said,
    time_of,
    times_in,
    tree,
)
from lab import Wget2

NewcomerMaker = Callable[[], Wget2]
BY_HAND = "--pinkeep-reload-command="
MAX_AGE = "--pinkeep-max-age=864000"  # ten days


# Confirm


@pytest.fixture
def by_hand(site: Pinned) -> Pinned:
    """A site whose admin reloads Apache, and has not done so since its pins were written."""
    site.bot.renew(*site.options, BY_HAND).check()
    return site


@RULE
def test_g2_pending_until_confirmed(
    by_hand: Pinned, regular: Wget2, newcomer: NewcomerMaker
) -> None:
    """While Apache may serve what was before, no rollover follows; once it is confirmed, it does."""
    bot, server = by_hand.bot, by_hand.server
    old, new, third = by_hand.pins
    assert by_hand.status()["published"] == "pending"
    server.reload()
    assert regular.visit(by_hand.url).accepted
    by_hand.confirm()
    assert by_hand.status()["published"] == "live"
    by_hand.rollover().check()
    bot.renew("--force-renewal").check()
    assert by_hand.live_pin == new
    assert server.served_pin(NAME) == old
    by_hand.rollover().check()  # the third is in all that may be served
    bot.renew("--force-renewal").check()
    assert by_hand.live_pin == third

    # The fourth is in none of what Apache has loaded, and it may serve the first policy still.
    before = tree(bot.config_dir)
    line = refusal(by_hand.rollover())
    assert "certbot-pinkeep confirm" in line
    assert times_in(line) == []
    assert changed(before, tree(bot.config_dir)) == []
    state = by_hand.state()
    assert (state["safe"], state["safe_from"]) == (False, None)
    later = newcomer()
    assert later.visit(by_hand.url).accepted  # the first key, the first pins

    server.reload()
    by_hand.confirm()
    assert server.served_pin(NAME) == third
    assert later.visit(by_hand.url).accepted
    assert regular.visit(by_hand.url).accepted
    safe = by_hand.safe_from()
    assert safe in times_in(refusal(by_hand.rollover()))
    by_hand.rollover(faketime=clock_at(safe) + HOUR).check()
    by_hand.check_whole()


@RULE
def test_g2_until_it_is_confirmed_the_earlier_pins_are_still_noted(
    site: Pinned, regular: Wget2
) -> None:
    """What was replaced on the disk 100 days ago, and is confirmed today, binds for 60 days yet."""
    site.bot.renew(*site.options, BY_HAND, "--pinkeep-backup-keys=1").check()
    site.server.reload()
    site.confirm()
    old = site.live_pin
    site.rollover().check()
    site.bot.renew("--force-renewal", MAX_AGE).check()
    later = 100 * DAY
    assert site.server.served_pin(NAME) == old
    assert regular.visit(site.url, faketime=later).accepted
    assert not site.state(later)["safe"]
    site.server.reload()
    site.confirm(later)
    assert site.server.served_pin(NAME) == site.live_pin != old
    assert regular.visit(site.url, faketime=later + HOUR).accepted
    state = site.state(later + HOUR)
    assert not state["safe"]
    assert 59 * DAY < clock_at(time_of(state["safe_from"])) - later < 61 * DAY


@COMMAND
@pytest.mark.parametrize("edit", ["max-age", "gone"])
def test_g8_an_edited_snippet_is_not_confirmed(by_hand: Pinned, edit: str) -> None:
    """What Apache has loaded then is not what is on record: refused, nothing is written."""
    bot, text = by_hand.bot, by_hand.snippet.read_text()
    by_hand.server.reload()
    if edit == "gone":
        by_hand.snippet.unlink()
    else:
        by_hand.snippet.write_text(text.replace("max-age=5184000", "max-age=60"))
    before = tree(bot.config_dir)
    line = refusal(bot.pinkeep("confirm", NAME))
    assert str(by_hand.snippet) in line
    assert changed(before, tree(bot.config_dir)) == []
    assert by_hand.status()["published"] == "pending"
    bot.renew().check()
    assert by_hand.snippet.read_text() == text
    by_hand.server.reload()
    by_hand.confirm()
    assert by_hand.status()["published"] == "live"


@COMMAND
def test_nothing_to_confirm(pinned: Pinned) -> None:
    """What is served already changes nothing; what does not exist is an error of one line."""
    before = tree(pinned.bot.config_dir)
    assert "nothing pending" in pinned.confirm()
    assert "nowhere.test" in refusal(pinned.bot.pinkeep("confirm", "nowhere.test"))
    assert changed(before, tree(pinned.bot.config_dir)) == []


# Unpin


def test_g2_unpin(site: Pinned, regular: Wget2, newcomer: NewcomerMaker) -> None:
    """A client that comes forgets the pins. One that does not is served until it forgets, and then there is
    no header."""
    bot, server, absent = site.bot, site.server, newcomer()
    site.adopt(MAX_AGE)
    old, new, _ = site.pins
    assert regular.visit(site.url).accepted
    assert absent.visit(site.url).accepted
    assert regular.noted(NAME) == site.pins

    with server.reloading():
        done = bot.pinkeep("unpin", NAME).check()

    (end,) = times_in(done.stdout)
    assert 9 * DAY < clock_at(end) < 10 * DAY
    (header,) = server.get(NAME).pins
    assert header.endswith("max-age=0")
    assert regular.visit(site.url).accepted
    assert regular.noted(NAME) == []

    # A rollover meanwhile is one that the absent one takes.
    site.rollover().check()
    site.renew()
    assert server.served_pin(NAME) == new != old
    assert absent.visit(site.url, faketime=HOUR).accepted  # and forgets, too

    late, gone = newcomer(), clock_at(end) + HOUR
    assert late.visit(site.url).accepted
    with server.reloading():
        bot.renew(*site.options, faketime=gone).check()
    assert server.get(NAME).pins == []
    assert site.status(gone)["published"] == "none"
    again = bot.renew("--force-renewal", *site.options, faketime=gone + HOUR).check()
    assert "unpinned" not in said(again)
    assert server.get(NAME).pins == []

    bot.renew_without_plugin("--no-reuse-key").check()
    server.reload()
    assert server.served_pin(NAME) not in (old, new)
    for visitor in (regular, absent, late):
        assert visitor.visit(site.url, faketime=gone + 2 * HOUR).accepted


@RULE
def test_g2_unpinned_but_not_forgotten(
    site: Pinned, regular: Wget2, newcomer: NewcomerMaker
) -> None:
    """The counter-case: with max-age=0 a foreign key locks out exactly those who did not come back."""
    site.adopt(MAX_AGE)
    absent = newcomer()
    assert regular.visit(site.url).accepted
    assert absent.visit(site.url).accepted
    with site.server.reloading():
        site.bot.pinkeep("unpin", NAME).check()
    assert regular.visit(site.url).accepted
    site.bot.renew_without_plugin("--no-reuse-key").check()
    site.server.reload()
    assert regular.visit(site.url).accepted
    assert absent.visit(site.url).mismatch


@RULE
def test_g2_a_rollover_while_unpinning_is_refused_if_it_locks_out(
    site: Pinned, regular: Wget2
) -> None:
    """Clients that hold the earlier pins are not forgotten: refused until those are, and kept by renewals."""
    site.spend()
    key, safe = site.live_pin, site.safe_from()
    assert regular.visit(site.url).accepted
    with site.server.reloading():
        site.bot.pinkeep("unpin", NAME).check()
    assert safe in times_in(refusal(site.rollover()))
    site.renew()
    assert site.server.served_pin(NAME) == key


@RULE
def test_unpin_while_apache_is_reloaded_by_hand(by_hand: Pinned) -> None:
    """That max-age=0 is served has to be confirmed, before anything can be forgotten."""
    by_hand.server.reload()
    by_hand.confirm()
    done = by_hand.bot.pinkeep("unpin", NAME).check()
    assert "certbot-pinkeep confirm" in done.stdout
    late = 400 * DAY
    by_hand.bot.renew(faketime=late).check()
    assert "max-age=0" in by_hand.snippet.read_text()
    by_hand.server.reload()
    by_hand.confirm(late + HOUR)
    by_hand.bot.renew(faketime=late + 2 * HOUR).check()
    assert "max-age=0" in by_hand.snippet.read_text()  # who came in the meantime
    by_hand.bot.renew(faketime=late + 61 * DAY).check()
    by_hand.server.reload()
    assert by_hand.server.get(NAME).pins == []


def test_unpin_undo(site: Pinned, regular: Wget2) -> None:
    """Meanwhile and after the end, `--undo` brings the header back, with the options remembered."""
    bot, server = site.bot, site.server
    site.adopt(MAX_AGE)
    header, pins = server.get(NAME).pins, site.pins
    with server.reloading():
        bot.pinkeep("unpin", NAME).check()
    assert server.get(NAME).pins != header
    with server.reloading():
        done = bot.pinkeep("unpin", NAME, "--undo").check()
    assert "is pinned" in done.stdout
    assert server.get(NAME).pins == header
    before = tree(bot.config_dir)
    bot.pinkeep("unpin", NAME, "--undo").check()
    assert changed(before, tree(bot.config_dir)) == []

    with server.reloading():
        bot.pinkeep("unpin", NAME).check()
    with server.reloading():
        bot.renew(faketime=11 * DAY).check()
    assert server.get(NAME).pins == []
    with server.reloading():
        bot.pinkeep("unpin", NAME, "--undo", faketime=12 * DAY).check()
    assert server.get(NAME).pins == header
    assert site.pins == pins
    assert regular.visit(site.url).accepted
    assert regular.noted(NAME) == pins
    site.check_whole()


@COMMAND
def test_unpin_of_nothing(pinned: Pinned) -> None:
    """An unknown keyring is an error of one line."""
    before = tree(pinned.bot.config_dir)
    assert "nowhere.test" in refusal(pinned.bot.pinkeep("unpin", "nowhere.test"))
    assert changed(before, tree(pinned.bot.config_dir)) == []
