"""Rollovers by command and by age: nobody is locked out, or it is said beforehand who is (G2, G3)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from e2e.killing import Guest, moments, saved_keys, visible, whole_files
from e2e.reasons import COMMAND, RULE, VALUE
from e2e.world import (
    DAY,
    HOUR,
    NAME,
    OFFLINE,
    Bot,
    Pinned,
    changed,
    cli_ini,
    clock_at,
    csr_pin,
    keys,
    live_pin,
    pins_in,
    refusal,
    said,
    script,
    sent_csrs,
    snippet_of,
    time_of,
    times_in,
    tree,
)
from lab import Wget2

NewcomerMaker = Callable[[], Wget2]
SIXTY_DAYS = 60 * DAY


@pytest.fixture
def spent(site: Pinned, regular: Wget2) -> Pinned:
    """A site that has just rolled over to its only backup; the regular came before that."""
    site.adopt("--pinkeep-backup-keys=1")
    assert regular.visit(site.url).accepted
    site.rollover().check()
    site.renew()
    return site


# If it is safe


def test_g2_a_safe_rollover(pinned: Pinned, regular: Wget2) -> None:
    """The command records the request and nothing else; the next renewal serves it, once."""
    bot, (old, new, third) = pinned.bot, pinned.pins
    header = pinned.server.get(NAME).pins
    assert regular.visit(pinned.url).accepted
    before = tree(bot.config_dir)

    done = pinned.rollover()

    assert (done.returncode, done.stderr) == (0, "")
    assert new in done.stdout
    assert changed(before, tree(bot.config_dir)) == [f"pinkeep/{NAME}.conf"]
    state = pinned.state()
    assert (state["due"], state["requested"], state["safe"]) == (True, True, True)
    bot.renew(*pinned.options).check()  # not due
    assert (pinned.live_pin, pinned.server.get(NAME).pins) == (old, header)

    assert new in said(pinned.renew())
    assert pinned.server.served_pin(NAME) == pinned.live_pin == new
    assert regular.visit(pinned.url).accepted
    assert pinned.pins[:2] == [new, third]
    assert len(pinned.pins) == 3
    assert old not in pinned.pins
    assert (pinned.role(old), pinned.role(new)) == ("retired", "primary")
    state = pinned.state()
    assert (state["due"], state["requested"], state["safe"]) == (False, False, True)
    pinned.check_whole()

    pinned.renew()
    assert pinned.live_pin == new
    assert regular.visit(pinned.url).accepted


@RULE
def test_g4_one_publication_takes_the_old_key_out_and_a_new_backup_in(
    pinned: Pinned, tmp_path: Path
) -> None:
    """What Apache loads in a rollover: the pins once, without the old key, with a new backup."""
    old, new, third = pinned.pins
    log = tmp_path / "loaded"
    body = f"#!/bin/sh\nset -e\ngrep ^Header {pinned.snippet} >> {log}\n"
    loading = script(tmp_path / "load", f"{body}exec {pinned.server.reload_command}\n")
    pinned.rollover().check()
    assert old in pinned.server.get(NAME).pins[0]
    pinned.renew(f"--pinkeep-reload-command={loading}")
    (loaded,) = log.read_text().splitlines()
    fourth = pinned.pins[2]
    assert fourth not in (old, new, third)
    for pin in (new, third, fourth):
        assert pin in loaded
    assert old not in loaded


def test_g2_now_renews_at_once(pinned: Pinned, regular: Wget2) -> None:
    """`--now`: when the command returns, Apache serves the backup; certbot's own words are told."""
    new = pinned.pins[1]
    serial = pinned.live_serial
    assert regular.visit(pinned.url).accepted
    with pinned.server.reloading():
        done = pinned.rollover("--now").check()
    assert done.stdout.index(new) < done.stdout.index("Processing")
    assert pinned.live_serial != serial
    assert pinned.server.served_pin(NAME) == pinned.live_pin == new
    assert regular.visit(pinned.url).accepted
    assert not pinned.state()["due"]
    pinned.check_whole()


def test_now_rolls_over_a_lineage_of_another_installer(pinned: Pinned) -> None:
    """The installer stays, and the server loads the certificate in the same run."""
    bot, (_, new, _) = pinned.bot, pinned.pins
    bot.renew("--force-renewal", "--installer", "null").check()
    pinned.rollover_now()
    assert pinned.server.served_pin(NAME) == pinned.live_pin == new
    assert "installer = null" in bot.renewal(NAME).read_text()
    pinned.check_whole()


def test_g3_now_with_a_ca_that_is_out_of_reach(pinned: Pinned) -> None:
    """The request is on record, the error says so, everything is served as before; then it is done."""
    bot, (old, new, _) = pinned.bot, pinned.pins
    serial = pinned.live_serial
    cli_ini(bot, {"server": "https://127.0.0.9:9/directory"})
    done = pinned.rollover("--now")
    assert done.returncode == 1
    assert "is on record" in done.stderr
    assert NAME in done.stderr
    assert pinned.server.served_pin(NAME) == old
    assert pinned.live_serial == serial
    assert pinned.state()["requested"]
    cli_ini(bot, {})
    pinned.renew()
    assert pinned.server.served_pin(NAME) == new
    pinned.check_whole()


def test_certonly_serves_a_request(pinned: Pinned, regular: Wget2) -> None:
    """Any issuance of the certificate rolls over, not only `renew`."""
    new = pinned.pins[1]
    assert regular.visit(pinned.url).accepted
    pinned.rollover().check()
    with pinned.server.reloading():
        pinned.certonly("-d", NAME).check()
    assert pinned.server.served_pin(NAME) == new
    assert regular.visit(pinned.url).accepted
    pinned.check_whole()


@RULE
def test_g2_g6_a_rollover_whose_snippet_fails_its_test(pinned: Pinned, regular: Wget2) -> None:
    """The earlier pins stay, which have the new key: whoever reloads Apache locks nobody out."""
    text, (old, new, third) = pinned.snippet.read_text(), pinned.pins
    assert regular.visit(pinned.url).accepted
    pinned.rollover().check()
    failing = [*pinned.options, "--pinkeep-configtest-command=false"]
    assert pinned.bot.renew("--force-renewal", *failing).returncode == 1
    assert pinned.snippet.read_text() == text
    assert (pinned.server.served_pin(NAME), pinned.live_pin) == (old, new)
    pinned.server.reload()
    assert pinned.server.served_pin(NAME) == new
    assert regular.visit(pinned.url).accepted
    pinned.adopt()
    assert pinned.pins[:2] == [new, third]
    assert old not in pinned.pins
    assert regular.visit(pinned.url).accepted
    assert not pinned.state()["due"]
    pinned.check_whole()


# If it is not


@RULE
def test_g2_an_unsafe_rollover_is_refused(spent: Pinned) -> None:
    """One line that says until when, and it is 60 days after the policy without the pin ended."""
    bot, key = spent.bot, spent.live_pin
    before = tree(bot.config_dir), tree(bot.work_dir)

    line = refusal(spent.rollover())

    assert (tree(bot.config_dir), tree(bot.work_dir)) == before
    safe = spent.safe_from()
    assert set(times_in(line)) == {safe}
    assert "--when-safe" in line
    (first_served,) = [k["first_served"] for k in spent.status()["keys"] if k["pin"] == key]
    assert safe == time_of(first_served) + SIXTY_DAYS
    state = spent.state()
    assert (state["due"], state["requested"], state["safe"]) == (False, False, False)

    assert refusal(spent.rollover(faketime=clock_at(safe) - HOUR)) == line
    assert refusal(spent.rollover("--now")) == line
    assert not spent.state()["due"]
    spent.rollover(faketime=clock_at(safe) + HOUR).check()


def test_g2_g3_when_safe(spent: Pinned, regular: Wget2, newcomer: NewcomerMaker) -> None:
    """Until it is safe renewals keep the key and say from when; the first one after that rolls."""
    key, new = spent.pins
    safe = spent.safe_from()
    visitors = [regular, newcomer()]
    assert all(visitor.visit(spent.url).accepted for visitor in visitors)

    done = spent.rollover("--when-safe", "--now").check()

    assert set(times_in(done.stdout)) == {safe}
    assert "Processing" not in done.stdout
    state = spent.state()
    assert (state["due"], state["requested"], state["safe"]) == (True, True, False)
    for clock in (timedelta(0), clock_at(safe) - HOUR):
        assert safe in times_in(spent.renew(faketime=clock).output)
        assert spent.server.served_pin(NAME) == spent.live_pin == key
        visitors.append(newcomer())
        assert all(visitor.visit(spent.url, faketime=clock).accepted for visitor in visitors)
    after = clock_at(safe) + HOUR
    assert spent.state(after)["safe"]
    spent.renew(faketime=after)
    assert spent.server.served_pin(NAME) == spent.live_pin == new
    assert all(visitor.visit(spent.url, faketime=after).accepted for visitor in visitors)
    spent.check_whole()


def test_g2_new_key_is_refused_while_it_is_not_safe(spent: Pinned) -> None:
    """`certonly --new-key` says from when; nothing is issued, and no request is left behind."""
    bot, key = spent.bot, spent.live_pin
    before = tree(bot.config_dir)
    done = spent.certonly("-d", NAME, "--new-key")
    assert done.returncode == 1
    assert spent.safe_from() in times_in(done.output)
    assert changed(before, tree(bot.config_dir)) == []
    assert not spent.state()["due"]
    spent.renew()
    assert spent.live_pin == key
    spent.check_whole()


@RULE
def test_report_only_pins_hold_nobody(site: Pinned, regular: Wget2) -> None:
    """What is only reported locks nobody out: one rollover after the other is safe."""
    site.adopt("--pinkeep-backup-keys=1", "--pinkeep-report-only")
    assert regular.visit(site.url).accepted
    for _ in range(2):
        new = site.pins[1]
        site.rollover().check()
        site.renew()
        assert site.live_pin == new
        assert regular.visit(site.url).accepted


# Compromised


@RULE
def test_a_compromised_key_is_left_by_the_next_renewal(pinned: Pinned, regular: Wget2) -> None:
    """If a backup is safe: it is compromised at once, pinned while it is served, then never."""
    old, new, third = pinned.pins
    assert regular.visit(pinned.url).accepted
    pinned.rollover("--compromised").check()
    assert pinned.role(old) == "compromised"
    pinned.bot.renew(*pinned.options).check()  # not due
    assert pinned.server.served_pin(NAME) == old
    assert old in pinned.server.get(NAME).pins[0]
    pinned.renew()
    assert pinned.server.served_pin(NAME) == new
    assert regular.visit(pinned.url).accepted
    assert pinned.pins[:2] == [new, third]
    assert old not in pinned.pins
    pinned.adopt("--pinkeep-backup-keys=4")
    assert old not in pinned.pins
    assert pinned.role(old) == "compromised"
    pinned.check_whole()


def test_g2_g3_a_compromised_key_while_nothing_is_safe(spent: Pinned, regular: Wget2) -> None:
    """The renewal fails and says what forces it, the old certificate stays; in time it renews."""
    key, new = spent.pins
    safe, serial = spent.safe_from(), spent.live_serial
    command = f"certbot-pinkeep rollover {NAME} --now --force"

    line = refusal(spent.rollover("--compromised"))

    assert safe in times_in(line)
    assert command in line
    assert new in line
    assert spent.role(key) == "compromised"
    spent.bot.renew(*spent.options).check()  # not due
    before = tree(spent.bot.config_dir)
    for verb in ("renew", "certonly"):
        if verb == "renew":
            done = spent.bot.renew("--force-renewal", *spent.options)
        else:
            done = spent.certonly("-d", NAME)
        assert done.returncode == 1
        assert command in said(done)
        assert safe in times_in(done.output)
    assert changed(before, tree(spent.bot.config_dir)) == []
    assert spent.server.served_serial(NAME) == spent.live_serial == serial
    assert regular.visit(spent.url).accepted

    after = clock_at(safe) + HOUR
    spent.renew(faketime=after)
    assert spent.server.served_pin(NAME) == spent.live_pin == new
    assert regular.visit(spent.url, faketime=after).accepted
    spent.check_whole()


@RULE
def test_a_compromised_key_when_safe(spent: Pinned) -> None:
    """`--compromised --when-safe` is no refusal, but says that renewals fail until then."""
    done = spent.rollover("--compromised", "--when-safe")
    assert (done.returncode, done.stderr) == (0, "")
    assert spent.safe_from() in times_in(done.stdout)
    assert f"certbot-pinkeep rollover {NAME} --now --force" in done.stdout
    assert spent.role(spent.live_pin) == "compromised"


# Forced


@RULE
def test_g2_a_forced_rollover_locks_out_whom_it_said(
    spent: Pinned, regular: Wget2, newcomer: NewcomerMaker
) -> None:
    """Announced first; who holds the announced pins is refused until the announced end, no other."""
    new = spent.pins[1]
    safe = spent.safe_from()
    later = newcomer()
    assert later.visit(spent.url).accepted

    with spent.server.reloading():
        done = spent.rollover("--now", "--force").check()

    announced = done.stdout.index("locks out")
    assert announced < done.stdout.index("Processing")
    assert safe in times_in(done.stdout)
    assert spent.server.served_pin(NAME) == spent.live_pin == new
    assert later.visit(spent.url).accepted
    assert newcomer().visit(spent.url).accepted
    assert regular.visit(spent.url).mismatch
    assert regular.visit(spent.url, faketime=clock_at(safe) - HOUR).mismatch
    assert regular.visit(spent.url, faketime=clock_at(safe) + HOUR).accepted
    spent.check_whole()


@RULE
def test_a_forced_rollover_waits_for_the_next_renewal(spent: Pinned, regular: Wget2) -> None:
    """Without `--now` it is announced, and announced again by the renewal that does it."""
    key, new = spent.pins
    safe = spent.safe_from()
    assert safe in times_in(spent.rollover("--force").check().stdout)
    assert spent.server.served_pin(NAME) == key
    assert safe in times_in(spent.renew().output)
    assert spent.live_pin == new
    assert regular.visit(spent.url).mismatch
    assert not spent.state()["due"]


@RULE
def test_g2_force_if_it_is_safe(pinned: Pinned, regular: Wget2) -> None:
    """It says that nobody is locked out, and nobody is."""
    assert regular.visit(pinned.url).accepted
    assert "locks nobody out" in pinned.rollover("--force").check().stdout
    pinned.renew()
    assert regular.visit(pinned.url).accepted


@RULE
def test_force_gets_a_compromised_key_out(spent: Pinned) -> None:
    """The command that the failed renewal names renews at once."""
    key, new = spent.pins
    refusal(spent.rollover("--compromised"))
    assert spent.bot.renew("--force-renewal", *spent.options).returncode == 1
    with spent.server.reloading():
        spent.rollover("--now", "--force").check()
    assert spent.server.served_pin(NAME) == spent.live_pin == new
    assert spent.role(key) == "compromised"
    spent.check_whole()


# By age


@RULE
@pytest.mark.parametrize(
    ("backups", "days", "turns"),
    [(1, 60, "RHRH"), (2, 60, "RRRR"), (1, 1, "RRRR"), (2, 400, "RRHH")],
)
def test_g2_rollover_days_0(
    site: Pinned, newcomer: NewcomerMaker, backups: int, days: int, turns: str
) -> None:
    """Every 31 days a renewal: it rolls over (R), or holds (H) while that would lock clients out."""
    site.adopt(
        *(f"--pinkeep-backup-keys={backups}", f"--pinkeep-max-age={days * 86400}"),
        "--pinkeep-rollover-days=0",
    )
    visitors = []
    for turn, expected in enumerate(turns, 1):
        clock = 31 * DAY * turn
        visitors.append(newcomer())
        assert visitors[-1].visit(site.url, faketime=clock - HOUR).accepted
        key = site.live_pin
        done = site.renew(faketime=clock)
        assert (site.live_pin != key) == (expected == "R")
        assert ("not safe yet" in said(done)) == (expected == "H")
        assert site.server.served_pin(NAME) == site.live_pin
        assert all(one.visit(site.url, faketime=clock + HOUR).accepted for one in visitors)
    site.check_whole()


@RULE
def test_rollover_days(site: Pinned, regular: Wget2) -> None:
    """A key in service for longer than that is rolled over, not a day earlier, and the option is kept."""
    site.adopt("--pinkeep-rollover-days=30")
    old, new, _ = site.pins
    state, key = site.state(), site.status()["keys"][0]
    due = time_of(state["next_due"])
    assert due == time_of(key["first_served"]) + 30 * DAY
    before, after = clock_at(due) - HOUR, clock_at(due) + HOUR
    site.renew(faketime=before)
    assert site.live_pin == old
    assert regular.visit(site.url, faketime=before).accepted
    assert not site.state(before)["due"]
    state = site.state(after)
    assert (state["due"], state["requested"], state["safe"]) == (True, False, True)
    site.renew(faketime=after)
    assert site.live_pin == new
    assert regular.visit(site.url, faketime=after).accepted
    state = site.state(after)
    assert not state["due"]
    assert time_of(state["next_due"]) >= due + 30 * DAY


@RULE
def test_rollover_days_never(bot: Bot) -> None:
    """With `never` a key is kept for ten years, for which the default would have rolled it over."""
    bot.renew(*OFFLINE, "--pinkeep-rollover-days=never").check()
    pin = live_pin(bot, NAME)
    assert '"next_due": null' in bot.pinkeep("status", NAME, "--json").check().stdout
    bot.renew("--force-renewal", faketime=3650 * DAY).check()
    assert live_pin(bot, NAME) == pin
    bot.renew("--force-renewal", "--pinkeep-rollover-days=730", faketime=3651 * DAY).check()
    assert live_pin(bot, NAME) != pin


@VALUE
@pytest.mark.parametrize("value", ["soon", "-1", "", "1.5"])
def test_g3_g10_a_bad_number_of_days(bot: Bot, value: str) -> None:
    """The renewal goes on with the key, the error names option and value; certonly does not begin."""
    bot.renew(*OFFLINE).check()
    pins, pin = pins_in(snippet_of(bot, NAME)), live_pin(bot, NAME)
    certificate = (bot.live(NAME) / "cert.pem").read_bytes()
    bad = f"--pinkeep-rollover-days={value}"
    before = tree(bot.config_dir)

    done = bot.certonly("-d", NAME, "--force-renewal", *OFFLINE, bad)

    assert done.returncode == 1
    assert f"--pinkeep-rollover-days {value!r}" in said(done)
    assert changed(before, tree(bot.config_dir)) == []
    done = bot.renew("--force-renewal", *OFFLINE, bad)
    assert done.returncode == 1
    assert f"--pinkeep-rollover-days {value!r}" in said(done)
    assert (bot.live(NAME) / "cert.pem").read_bytes() != certificate
    assert live_pin(bot, NAME) == pin
    assert pins_in(snippet_of(bot, NAME)) == pins


# Backups that are lost


@RULE
def test_g2_a_backup_without_its_file_is_passed_over(pinned: Pinned, regular: Wget2) -> None:
    """The next one that is safe is taken, and what was promised is what is done."""
    old, lost, third = pinned.pins
    assert regular.visit(pinned.url).accepted
    keys(pinned.bot)[lost].unlink()
    done = pinned.rollover().check()
    assert third in done.stdout
    with pinned.server.reloading():
        pinned.bot.renew("--force-renewal", *pinned.options)
    assert pinned.server.served_pin(NAME) == pinned.live_pin == third != old
    assert regular.visit(pinned.url).accepted


@RULE
def test_g3_no_backup_has_its_file(spent: Pinned, regular: Wget2) -> None:
    """Refused on one line that names the file; the renewal keeps the key, whatever was asked."""
    key, lost = spent.pins
    path = keys(spent.bot)[lost]
    path.unlink()
    spent.bot.real = True  # what is logged is on standard error, too
    before = tree(spent.bot.config_dir)
    line = refusal(spent.rollover())
    assert str(path) in line
    assert str(path) in refusal(spent.rollover("--force"))
    assert changed(before, tree(spent.bot.config_dir)) == []
    assert regular.visit(spent.url).accepted
    serial = spent.live_serial
    with spent.server.reloading():
        spent.bot.renew("--force-renewal", *spent.options, "--pinkeep-rollover-days=0")
    assert spent.live_serial != serial
    assert spent.server.served_pin(NAME) == spent.live_pin == key


# What changes nothing


def test_a_dry_run_of_a_rollover_changes_nothing(pinned: Pinned) -> None:
    """It hands over the CSR of the key that the renewal would take, and writes nothing."""
    bot, (old, new, _) = pinned.bot, pinned.pins
    pinned.rollover().check()
    before = tree(bot.config_dir)
    bot.renew("--dry-run", *pinned.options).check()
    assert sent_pins(bot) == [new]
    assert changed(before, tree(bot.config_dir)) == []
    assert pinned.state()["requested"]
    assert pinned.server.served_pin(NAME) == old
    bot.renew("--dry-run", "--new-key", *pinned.options).check()
    assert changed(before, tree(bot.config_dir)) == []


def test_g3_a_dry_run_while_nothing_is_safe(spent: Pinned) -> None:
    """It goes as the renewal would go: on with the key, or with the error of a compromised one."""
    bot, key = spent.bot, spent.live_pin
    spent.rollover("--when-safe").check()
    before = tree(bot.config_dir)
    bot.renew("--dry-run", *spent.options).check()
    assert sent_pins(bot) == [key]
    assert changed(before, tree(bot.config_dir)) == []
    refusal(spent.rollover("--compromised"))
    before = tree(bot.config_dir)
    done = bot.renew("--dry-run", *spent.options)
    assert done.returncode == 1
    assert f"certbot-pinkeep rollover {NAME} --now --force" in said(done)
    assert sent_pins(bot) == []
    assert changed(before, tree(bot.config_dir)) == []


def sent_pins(bot: Bot) -> list[str]:
    """The pins of the CSRs that the latest run sent."""
    return [csr_pin(x509.load_der_x509_csr(sent)) for sent in sent_csrs(bot)]


@COMMAND
def test_g10_what_cannot_be_rolled_over(pinned: Pinned) -> None:
    """No such keyring: one line that names those that are there; contradictions are usage errors."""
    before = tree(pinned.bot.config_dir)
    line = refusal(pinned.bot.pinkeep("rollover", "nowhere.test"))
    assert "nowhere.test" in line
    assert NAME in line
    assert "../x" in refusal(pinned.bot.pinkeep("rollover", "../x", "--now"))
    assert pinned.rollover("--when-safe", "--force").returncode == 2
    assert pinned.bot.pinkeep("rollover").returncode == 2
    assert changed(before, tree(pinned.bot.config_dir)) == []


# Killed


def loadable(bot: Bot) -> bool:
    """Whether Apache could load what is live: certbot moves its four links one by one."""
    links = [path.readlink().stem for path in bot.live(NAME).glob("*.pem")]
    return len({link.lstrip("abcdefghijklmnopqrstuvwxyz") for link in links}) == 1


@pytest.mark.long
def test_g2_g5_killed_at_each_step_of_a_rollover(
    pinned: Pinned, regular: Wget2, newcomer: NewcomerMaker
) -> None:
    """The next renewal completes it, with the same key; no key is lost, nobody is locked out."""
    bot, (_, new, third) = pinned.bot, pinned.pins
    bot.renew(*OFFLINE).check()
    assert regular.visit(pinned.url).accepted
    noted = regular.store.read_bytes()
    pinned.rollover().check()
    killed = moments(bot, "renew", *bot.account, "--force-renewal", *OFFLINE)
    assert (pinned.live_pin, pinned.pins[:2]) == (new, [new, third])
    assert len(killed) > 20
    seen: object = None
    for kill in killed:
        kill.restore()
        whole_files(bot)
        before = saved_keys(bot)
        seen, earlier_seen = visible(pinned), seen
        guest = Guest(pinned, newcomer()) if seen != earlier_seen and loadable(bot) else None

        if bot.fork_renew("--force-renewal", *OFFLINE).returncode:
            bot.fork_renew("--force-renewal", *OFFLINE).check()

        pinned.check_whole()
        assert pinned.live_pin == new
        assert pinned.pins[:2] == [new, third]
        assert len(pinned.pins) == 3
        assert before <= saved_keys(bot)
        if guest:
            guest.come_back()
            regular.store.write_bytes(noted)
            assert regular.visit(pinned.url).accepted
