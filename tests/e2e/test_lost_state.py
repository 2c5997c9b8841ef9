"""Lost, old and damaged state, and clocks that run wrong: no rollover until nobody can be hurt (G8)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

import pytest

from e2e.reasons import RULE
from e2e.world import (
    DAY,
    HOUR,
    NAME,
    Pinned,
    changed,
    clock_at,
    keys,
    refusal,
    said,
    times_in,
    tree,
)
from lab import Wget2

NewcomerMaker = Callable[[], Wget2]
LONG, SHORT = "--pinkeep-max-age=8640000", "--pinkeep-max-age=86400"  # 100 days, one day


def all_accepted(
    site: Pinned, visitors: Iterable[Wget2], faketime: timedelta | None = None
) -> None:
    """Assert that each of them is served."""
    for number, visitor in enumerate(visitors):
        assert visitor.visit(site.url, faketime=faketime).accepted, number


def lose(site: Pinned, what: str) -> None:
    """Remove the keyring file; with "shadow" the copy below the work dir as well."""
    site.keyring.unlink()
    if what == "shadow":
        shutil.rmtree(site.bot.work_dir)


@pytest.mark.parametrize("what", ["file", pytest.param("shadow", marks=RULE)])
def test_g2_g8_the_keyring_file_is_gone(
    pinned: Pinned, regular: Wget2, newcomer: NewcomerMaker, what: str
) -> None:
    """What can be seen is adopted, nothing is staged over it, no rollover before all is forgotten."""
    bot, (old, new, _) = pinned.bot, pinned.pins
    pins, saved = pinned.pins, set(keys(bot))
    visitors = [regular]
    all_accepted(pinned, visitors)
    lose(pinned, what)

    pinned.renew()

    assert pinned.pins == pins
    assert set(keys(bot)) == saved
    assert pinned.server.served_pin(NAME) == pinned.live_pin == old
    visitors.append(newcomer())
    all_accepted(pinned, visitors)
    safe = pinned.safe_from()
    assert 59 * DAY < clock_at(safe) < 61 * DAY
    assert safe in times_in(refusal(pinned.rollover()))
    early, late = clock_at(safe) - HOUR, clock_at(safe) + HOUR
    assert safe in times_in(refusal(pinned.rollover(faketime=early)))
    pinned.rollover("--when-safe").check()
    pinned.renew(faketime=early)
    assert pinned.live_pin == old
    all_accepted(pinned, visitors, early)
    pinned.renew(faketime=late)
    assert pinned.live_pin == new
    all_accepted(pinned, visitors, late)
    pinned.check_whole()


@RULE
def test_g2_g8_a_lost_policy_that_bound_for_longer(
    site: Pinned, regular: Wget2, newcomer: NewcomerMaker
) -> None:
    """The snippet says one day, but 100 days were served before: the shadow knows, and it counts."""
    site.adopt(LONG, "--pinkeep-backup-keys=1")
    visitors = [regular]
    all_accepted(site, visitors)
    site.rollover().check()
    site.renew(SHORT)
    key, new = site.pins
    lose(site, "file")
    site.renew()
    assert (site.live_pin, site.pins) == (key, [key, new])
    safe = site.safe_from()
    assert clock_at(safe) > 99 * DAY
    early, late = clock_at(safe) - HOUR, clock_at(safe) + HOUR
    site.rollover("--when-safe").check()
    visitors.append(newcomer())
    all_accepted(site, visitors)
    site.renew(faketime=early)
    assert site.live_pin == key
    all_accepted(site, visitors, early)
    site.renew(faketime=late)
    assert site.live_pin == new
    all_accepted(site, visitors, late)


@RULE
def test_g2_what_a_rollover_from_lost_state_would_have_done(site: Pinned, regular: Wget2) -> None:
    """The counter-case: forced, it locks out who came before the loss, as is announced."""
    site.adopt("--pinkeep-backup-keys=1")
    assert regular.visit(site.url).accepted
    site.rollover().check()
    site.renew()
    lose(site, "shadow")
    site.renew()
    told = site.rollover("--force").check().stdout
    assert site.safe_from() in times_in(told)
    assert "lost" in told
    site.renew()
    assert regular.visit(site.url).mismatch
    late = clock_at(max(times_in(told))) + HOUR
    assert regular.visit(site.url, faketime=late).accepted


def put_older_back(site: Pinned, folder: Path, rollovers: int) -> timedelta:
    """Adopt, back up, roll over every three days and put the backup back; how far the clock is."""
    bot = site.bot
    site.adopt(SHORT)
    old = site.live_pin
    shutil.copytree(bot.config_dir, folder, symlinks=True)
    clock = timedelta(0)
    for _ in range(rollovers):
        clock += 3 * DAY
        site.rollover(faketime=clock).check()
        site.renew(faketime=clock)
    assert site.live_pin != old

    shutil.rmtree(bot.config_dir)
    shutil.copytree(folder, bot.config_dir, symlinks=True)
    site.server.reload()
    assert site.server.served_pin(NAME) == site.live_pin == old
    return clock + 3 * DAY


@RULE
@pytest.mark.parametrize("rollovers", [1, 2])
def test_g2_g8_an_older_config_dir_is_put_back(
    site: Pinned, newcomer: NewcomerMaker, tmp_path: Path, rollovers: int
) -> None:
    """A client that is served what was put back is served by every renewal after it: the key is in all pins
    that he may hold, or it is kept."""
    bot = site.bot
    clock = put_older_back(site, tmp_path / "backup", rollovers)
    visitor = newcomer()
    all_accepted(site, [visitor], clock)

    done = bot.renew("--force-renewal", faketime=clock + HOUR)

    site.server.reload()
    all_accepted(site, [visitor], clock + HOUR)
    assert "put back" in said(done)
    line = refusal(site.rollover(faketime=clock + HOUR))
    safe = max(times_in(line))
    assert clock + 20 * HOUR < clock_at(safe) < clock + 40 * DAY
    # A visit to what was published then, and everything goes on.
    site.bot.renew("--force-renewal", faketime=clock + 2 * HOUR)
    site.server.reload()
    all_accepted(site, [visitor], clock + 2 * HOUR)
    late = clock_at(safe) + HOUR
    site.rollover(faketime=late).check()
    site.renew(faketime=late)
    all_accepted(site, [visitor], late)
    site.check_whole()


@RULE
def test_g2_g8_an_older_config_dir_without_the_newest_keys_is_put_back(
    site: Pinned, newcomer: NewcomerMaker, tmp_path: Path
) -> None:
    """No key that was pinned last is left, and the error says what to do. Until then no visitor of what was
    put back is locked out."""
    bot = site.bot
    clock = put_older_back(site, tmp_path / "backup", rollovers=3)
    old, visitor = site.live_pin, newcomer()
    all_accepted(site, [visitor], clock)
    paths = [site.keyring, *bot.work_dir.glob(f"pinkeep/*/{NAME}.conf")]
    assert len(paths) == 2

    done = bot.renew("--force-renewal", *site.options, SHORT, faketime=clock + HOUR)
    assert done.returncode == 1
    assert all(str(path) in said(done) for path in paths)
    assert site.live_pin == old
    site.server.reload()
    all_accepted(site, [visitor], clock + HOUR)

    for number, path in enumerate(paths):
        path.rename(tmp_path / f"away-{number}")
    with site.server.reloading():
        bot.renew(*site.options, SHORT, faketime=clock + 2 * HOUR).check()
    assert site.pins[0] == old
    all_accepted(site, [visitor], clock + 2 * HOUR)
    site.check_whole()


@RULE
def test_g2_g8_damaged_then_moved_away(
    pinned: Pinned, regular: Wget2, newcomer: NewcomerMaker
) -> None:
    """Damaged: renewals keep the key, nothing is published, nothing rolls. Moved away: as if lost."""
    bot, (old, _, _) = pinned.bot, pinned.pins
    pins, text, saved = pinned.pins, pinned.snippet.read_text(), set(keys(bot))
    visitors = [regular]
    all_accepted(pinned, visitors)
    pinned.keyring.write_bytes(pinned.keyring.read_bytes()[:-20])

    serial = pinned.live_serial
    with pinned.server.reloading():
        done = bot.renew("--force-renewal", *pinned.options, "--pinkeep-rollover-days=0")
    assert done.returncode == 1
    assert str(pinned.keyring) in said(done)
    assert pinned.live_serial != serial
    assert pinned.server.served_pin(NAME) == pinned.live_pin == old
    assert pinned.snippet.read_text() == text
    before = tree(bot.config_dir)
    for call in (("rollover",), ("rollover", "--force"), ("confirm",), ("unpin",)):
        verb, *more = call
        assert str(pinned.keyring) in refusal(bot.pinkeep(verb, NAME, *more))
    new_key = pinned.certonly("-d", NAME, "--new-key")
    assert new_key.returncode == 1
    assert changed(before, tree(bot.config_dir)) == []
    all_accepted(pinned, visitors)

    pinned.keyring.rename(pinned.keyring.with_suffix(".damaged"))
    shutil.rmtree(bot.work_dir)
    # The options were in that file.
    bot.renew(*pinned.options, "--pinkeep-rollover-days=0").check()
    assert pinned.pins == pins
    assert set(keys(bot)) == saved
    visitors.append(newcomer())
    all_accepted(pinned, visitors)
    # With --pinkeep-rollover-days=0, every safe renewal rolls over.
    safe = pinned.safe_from()
    early, late = clock_at(safe) - HOUR, clock_at(safe) + HOUR
    pinned.renew(faketime=early)
    assert pinned.live_pin == old
    pinned.renew(faketime=late)
    assert pinned.live_pin != old
    all_accepted(pinned, visitors, late)


@RULE
def test_g8_the_clock_is_set_back(site: Pinned, regular: Wget2, newcomer: NewcomerMaker) -> None:
    """A policy that is published then ends nothing, and nothing rolls over, until time is right."""
    bot, back = site.bot, -400 * DAY
    site.adopt(LONG, "--pinkeep-backup-keys=1", "--pinkeep-rollover-days=0")
    key = site.live_pin
    visitors = [regular]
    all_accepted(site, visitors)

    with site.server.reloading():
        bot.renew("--force-renewal", SHORT, faketime=back)
    assert site.server.served_pin(NAME) == site.live_pin == key
    line = refusal(site.rollover(faketime=back))
    assert "clock" in line
    assert not site.state(back)["safe"]
    assert refusal(bot.pinkeep("confirm", NAME, faketime=back))
    all_accepted(site, visitors)

    # The clock is right again: the key that all policies have is taken; after that nothing is safe
    # before the 100 days are over, whatever the clock said when they ended.
    new = site.pins[1]
    visitors.append(newcomer())
    site.renew()
    assert site.live_pin == new
    all_accepted(site, visitors)
    third = site.pins[1]
    safe = site.safe_from()
    assert clock_at(safe) > 99 * DAY
    site.renew(faketime=clock_at(safe) - HOUR)
    assert site.live_pin == new
    site.renew(faketime=clock_at(safe) + HOUR)
    assert site.live_pin == third
    all_accepted(site, visitors, clock_at(safe) + HOUR)
    site.check_whole()


@RULE
def test_g8_the_clock_is_set_back_a_little(site: Pinned, regular: Wget2) -> None:
    """A day is enough: that clock serves no request, the right one does, and time counts from then."""
    site.adopt(SHORT, "--pinkeep-backup-keys=1")
    assert regular.visit(site.url).accepted
    site.rollover().check()
    done = site.renew(faketime=-DAY)  # this clock serves no request
    assert "clock" in said(done)
    old, new = site.pins
    assert site.live_pin == old
    site.renew()
    assert site.live_pin == new
    assert regular.visit(site.url).accepted
    safe = site.safe_from()
    assert clock_at(safe) > 23 * HOUR
    refusal(site.rollover())


def test_g3_keys_folder_that_was_emptied(
    pinned: Pinned, regular: Wget2, newcomer: NewcomerMaker
) -> None:
    """``find keys -mtime +90 -delete``: renewed, loaded, and said so; the next run has nothing to say."""
    lost = pinned.pins[1:]
    visitors = [regular]
    all_accepted(pinned, visitors)
    for path in keys(pinned.bot).values():
        path.unlink()

    told = said(pinned.renew())

    for wrong in ("Nothing was changed", "locked out", "failed"):
        assert wrong not in told
    assert "new backup keys" in told
    assert any(59 * DAY < clock_at(moment) < 61 * DAY for moment in times_in(told))
    assert pinned.server.served_pin(NAME) == pinned.live_pin == pinned.pins[0]
    assert len(pinned.pins) == 3 and not set(lost) & set(pinned.pins)
    visitors.append(newcomer())
    all_accepted(pinned, visitors)
    again = said(pinned.bot.renew())
    assert "new backup" not in again and "keys/" not in again
    pinned.check_whole()
