"""One keyring for a domain and what is below it: whoever noted the domain's pins is served (G2)."""

from __future__ import annotations

import shutil

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from e2e.reasons import RULE
from e2e.world import (
    API,
    DAY,
    DOMAIN,
    HOUR,
    KEYRING,
    NAME,
    SHOP,
    Family,
    Pinned,
    changed,
    clock_at,
    key_kind,
    keys,
    live_certificate,
    live_pin,
    pins_in,
    put_key,
    refusal,
    refused_at,
    said,
    snippet_of,
    times_in,
    tree,
)
from lab import VirtualHost, Wget2

SUBDOMAINS = "--pinkeep-include-subdomains"
ALL = (DOMAIN, NAME, API)


@pytest.fixture
def noted(family: Family, guest: Wget2) -> Wget2:
    """A visitor who has seen the bare domain, once, and nothing else."""
    assert guest.visit(family.server.url(DOMAIN)).accepted
    assert guest.noted(DOMAIN) == family.pins
    assert guest.noted(NAME) == guest.noted(API) == []
    return guest


@pytest.fixture
def merged(family: Family) -> Family:
    """The family, each renewed once: all of them serve the shared key."""
    family.renew()
    return family


def test_g2_renewals_bring_all_to_the_shared_key(family: Family, noted: Wget2) -> None:
    """Each joins with its own key, pinned, and is renewed for the shared one; nobody is refused."""
    server, live = family.server, family.live_pins
    assert len(set(live.values())) == 3
    assert set(family.pins[:3]) == set(live.values())
    assert len(family.pins) == 5
    primary = family.pins[0]
    assert refused_at(noted, server, ALL) == []

    for name in ALL:
        family.renew_one(name)
        live[name] = primary
        assert family.served_pins == family.live_pins == live
        assert set(family.pins[: len(set(live.values()))]) == set(live.values())
        assert refused_at(noted, server, ALL) == []
        family.check_whole()

    assert len(family.pins) == 3
    for _ in range(2):
        serials = [server.served_serial(name) for name in ALL]
        family.renew()
        assert not set(serials) & {server.served_serial(name) for name in ALL}
        assert set(family.live_pins.values()) == {primary}
        assert refused_at(noted, server, ALL) == []


@RULE
def test_g2_a_rollover_reaches_one_after_the_other(merged: Family, guest: Wget2) -> None:
    """What is in service stays pinned until the last one has left it, and no longer."""
    server, (old, new, third) = merged.server, merged.pins
    assert guest.visit(server.url(DOMAIN)).accepted
    merged.rollover().check()
    for left, name in ((2, API), (1, DOMAIN)):
        merged.renew_one(name)
        assert server.served_pin(name) == new
        assert merged.pins[:2] == [new, old]
        assert list(merged.live_pins.values()).count(old) == left
        assert refused_at(guest, server, ALL) == []
        merged.check_whole()
    assert merged.role(old) == "in-service"
    merged.renew_one(NAME)
    assert set(merged.served_pins.values()) == {new}
    assert merged.pins[:2] == [new, third]
    assert old not in merged.pins
    assert merged.role(old) == "retired"
    assert not merged.state()["due"]
    assert refused_at(guest, server, ALL) == []
    merged.check_whole()


def test_g2_now_takes_all_in_one_go(merged: Family, guest: Wget2) -> None:
    """When the command returns, every lineage serves the backup, and the old key is unpinned."""
    server, (old, new, third) = merged.server, merged.pins
    assert guest.visit(server.url(DOMAIN)).accepted
    with server.reloading():
        done = merged.rollover("--now").check()
    assert done.stdout.count("Processing") == 3
    merged.await_certificates()
    assert merged.served_pins == merged.live_pins == dict.fromkeys(ALL, new)
    assert merged.pins[:2] == [new, third]
    assert old not in merged.pins
    assert refused_at(guest, server, ALL) == []
    merged.check_whole()


@RULE
def test_g2_a_rollover_half_way_through_another_one(merged: Family, guest: Wget2) -> None:
    """The one that has left already and those that have not: the next renewals bring all to one."""
    server, (old, new, third) = merged.server, merged.pins
    assert guest.visit(server.url(DOMAIN)).accepted
    merged.rollover().check()
    merged.renew_one(API)
    assert set(merged.live_pins.values()) == {old, new}
    merged.rollover().check()
    merged.renew()
    assert set(merged.served_pins.values()) == {third}
    assert not {old, new} & set(merged.pins)
    assert refused_at(guest, server, ALL) == []
    merged.check_whole()


@RULE
def test_a_subdomain_with_a_key_outside_the_pins_is_refused(merged: Family, guest: Wget2) -> None:
    """The counter-case: who noted the bare domain refuses it, a stranger does not."""
    family, server = merged, merged.server
    family.bot.certonly_without_plugin("-d", SHOP).check()
    family.serve_too(family.host(SHOP, keyring=None))
    assert guest.visit(server.url(SHOP)).accepted
    assert guest.visit(server.url(DOMAIN)).accepted
    assert refused_at(guest, server, (*ALL, SHOP)) == [SHOP]


# Those who come


def test_g2_a_new_certificate_is_issued_for_the_shared_key(merged: Family, guest: Wget2) -> None:
    """A client that noted the bare domain is served at once by a subdomain that is new."""
    family, server = merged, merged.server
    assert guest.visit(server.url(DOMAIN)).accepted
    family.take(SHOP).check()
    assert live_pin(family.bot, SHOP) == family.pins[0]
    assert len(family.pins) == 3
    assert set(family.status()["lineages"]) == {*ALL, SHOP}
    family.serve_too(family.host(SHOP))
    assert refused_at(guest, server, (*ALL, SHOP)) == []
    family.check_whole()


@RULE
def test_g2_a_lineage_that_comes_later_brings_its_key(relatives: Family, guest: Wget2) -> None:
    """It is in service and pinned until its next renewal, which is issued for the shared key."""
    family, server = relatives, relatives.server
    for name in (DOMAIN, API):
        with server.reloading():
            family.bot.renew("--cert-name", name, *family.options).check()
    assert guest.visit(server.url(DOMAIN)).accepted
    own, pins = live_pin(family.bot, NAME), family.pins
    assert own not in pins
    with server.reloading():
        family.bot.renew("--cert-name", NAME, *family.options).check()
    assert family.live_pins[NAME] == own
    assert set(family.pins) == {*pins, own}
    assert family.role(own) == "in-service"
    assert refused_at(guest, server, ALL) == []
    family.check_whole()

    family.renew_one(NAME)
    assert server.served_pin(NAME) == pins[0]
    assert own not in family.pins
    assert family.role(own) == "retired"
    family.check_whole()


@RULE
def test_g2_a_key_that_pins_do_not_cover_is_told(merged: Family, guest: Wget2) -> None:
    """Below the domain it is refused, which joining cannot change; renewed, it has the shared key."""
    family, bot, server = merged, merged.bot, merged.server
    assert guest.visit(server.url(DOMAIN)).accepted
    bot.certonly_without_plugin("-d", SHOP).check()
    own, pins = live_pin(bot, SHOP), family.pins
    with server.reloading():
        done = bot.renew("--cert-name", SHOP, *family.options).check()
    assert own in said(done)
    assert f"--cert-name {SHOP} --force-renewal --installer pinkeep" in said(done)
    assert own in family.pins

    with server.reloading():
        bot.renew("--cert-name", SHOP, "--force-renewal", "--installer", "pinkeep").check()
    assert live_pin(bot, SHOP) == pins[0]
    assert family.pins == pins
    family.serve_too(family.host(SHOP))
    assert refused_at(guest, server, (*ALL, SHOP)) == []


# Those who go


def test_g2_a_member_is_deleted(family: Family, noted: Wget2) -> None:
    """Its own key leaves the pins with it; its host stays bound, and comes back with a pinned key."""
    bot = family.bot
    family.renew_one(DOMAIN)
    shared = live_pin(bot, DOMAIN)
    gone = next(name for name in (API, NAME) if live_pin(bot, name) != shared)
    own, rest = live_pin(bot, gone), tuple(name for name in ALL if name != gone)
    family.serve(*(family.host(name) for name in rest))
    told = said(bot.run("delete", "--cert-name", gone).check())
    assert KEYRING in told
    assert f"--pinkeep-keyring {KEYRING}" in told
    with family.server.reloading():
        bot.renew().check()
    assert own not in family.pins
    assert family.role(own) == "retired"
    assert sorted(family.status()["lineages"]) == sorted(rest)
    assert refused_at(noted, family.server, rest) == []

    bot.certonly("-d", gone, "--installer", "pinkeep", *family.commands).check()
    assert live_pin(bot, gone) == shared
    family.serve_too(family.host(gone))
    assert refused_at(noted, family.server, ALL) == []
    family.check_whole()


@RULE
def test_g2_the_last_member_is_deleted(merged: Family, guest: Wget2) -> None:
    """The keyring and its keys stay, and the next certificate is issued for the same key."""
    bot, server, pins = merged.bot, merged.server, merged.pins
    assert guest.visit(server.url(DOMAIN)).accepted
    merged.serve()
    for name in ALL:
        told = said(bot.run("delete", "--cert-name", name).check())
    assert "stay" in told
    bot.renew().check()
    assert merged.keyring.exists()
    assert set(pins) <= set(keys(bot))
    alone = ["-d", NAME, "--cert-name", "alone", "--installer", "pinkeep", *merged.commands]
    bot.certonly(*alone).check()
    assert live_pin(bot, "alone") == pins[0]
    assert merged.pins == pins
    merged.serve(VirtualHost((NAME,), (bot.live("alone"),), merged.snippet))
    assert refused_at(guest, server, [NAME]) == []
    assert merged.status()["lineages"] == ["alone"]


@RULE
def test_a_deleted_member_that_comes_back_past_the_plugin(family: Family) -> None:
    """The counter-case: certbot takes a key that the pins lack."""
    bot = family.bot
    family.serve(family.host(DOMAIN), family.host(API))
    bot.run("delete", "--cert-name", NAME).check()
    bot.certonly_without_plugin("-d", NAME).check()
    assert live_pin(bot, NAME) not in family.pins


# Those who move


@pytest.fixture
def neighbours(relatives: Family) -> Family:
    """The three on one keyring whose pins cover no subdomains, all with the shared key."""
    relatives.adopt()
    relatives.renew()
    return relatives


def test_g2_a_member_moves_to_a_keyring_of_its_own(neighbours: Family, guest: Wget2) -> None:
    """Its key is pinned in both until the move is confirmed, and it keeps it until that is safe."""
    family, bot, server = neighbours, neighbours.bot, neighbours.server
    assert guest.visit(server.url(NAME)).accepted
    moved = Family(bot, server, "shop", (NAME,))
    shared = live_pin(bot, NAME)
    told = said(bot.renew("--cert-name", NAME, *moved.options).check())
    assert f"certbot-pinkeep confirm {moved.name}" in told
    assert live_pin(bot, NAME) == shared == moved.pins[0]
    assert shared in family.pins
    assert family.pins[1:] != moved.pins[1:]
    line = refusal(moved.rollover())
    assert f"certbot-pinkeep confirm {moved.name}" in line
    assert times_in(line) == []

    family.serve(family.host(DOMAIN), family.host(API), moved.host(NAME))
    assert refused_at(guest, server, ALL) == []
    moved.confirm()
    assert moved.status()["lineages"] == [NAME]
    assert sorted(family.status()["lineages"]) == sorted([DOMAIN, API])
    safe = moved.safe_from()
    assert safe in times_in(refusal(moved.rollover()))
    moved.renew_one(NAME)
    assert live_pin(bot, NAME) == shared
    assert refused_at(guest, server, ALL) == []
    moved.rollover("--when-safe").check()
    moved.renew_one(NAME, faketime=clock_at(safe) + HOUR)
    assert server.served_pin(NAME) == live_pin(bot, NAME) != shared
    assert refused_at(guest, server, ALL, clock_at(safe) + HOUR) == []
    assert refused_at(guest, server, ALL) == [NAME]  # had it been done at once
    moved.check_whole()


@RULE
def test_g2_a_member_moves_to_a_keyring_with_others(neighbours: Family, guest: Wget2) -> None:
    """It is renewed for the key that is shared there once nobody holds the pins that lack it."""
    family, bot, server = neighbours, neighbours.bot, neighbours.server
    shop = Family(bot, server, "shop", (SHOP,))
    bot.certonly("-d", SHOP).check()
    bot.renew("--cert-name", SHOP, *shop.options).check()
    assert guest.visit(server.url(NAME)).accepted
    old, new = live_pin(bot, NAME), live_pin(bot, SHOP)
    with server.reloading():
        bot.renew("--cert-name", NAME, *shop.options).check()
    assert shop.pins[:2] == [new, old]
    family.serve(family.host(DOMAIN), family.host(API), shop.host(NAME), shop.host(SHOP))
    shop.confirm()
    shop.renew_one(NAME)
    assert live_pin(bot, NAME) == old
    assert refused_at(guest, server, [NAME]) == []
    for clock, pin in ((59 * DAY, old), (61 * DAY, new)):
        shop.renew_one(NAME, faketime=clock)
        assert server.served_pin(NAME) == live_pin(bot, NAME) == pin
        assert refused_at(guest, server, [NAME], clock) == []
    assert old not in shop.pins
    assert old in family.pins


@RULE
def test_g2_a_keyring_is_renamed(merged: Family, guest: Wget2) -> None:
    """All move to the new name, with includeSubDomains, and nobody is refused."""
    family, bot, server = merged, merged.bot, merged.server
    assert guest.visit(server.url(DOMAIN)).accepted
    renamed = Family(bot, server, "renamed")
    bot.renew(*renamed.options).check()
    assert renamed.pins[0] == family.pins[0]
    renamed.serve(*(renamed.host(name) for name in ALL))
    assert refused_at(guest, server, ALL) == []
    renamed.confirm()
    assert family.status()["lineages"] == []
    assert sorted(renamed.status()["lineages"]) == sorted(ALL)
    (header,) = server.get(DOMAIN).pins
    assert "includeSubDomains" in header
    renamed.renew()
    assert refused_at(guest, server, ALL) == []
    assert len(set(renamed.live_pins.values())) == 1
    bot.renew().check()
    renamed.check_whole()


@RULE
def test_g2_a_member_moves_out_of_pins_that_cover_it(merged: Family, guest: Wget2) -> None:
    """While the domain's pins cover it, it takes no key that they lack, wherever it draws on."""
    family, bot, server = merged, merged.bot, merged.server
    moved = Family(bot, server, "shop", (NAME,))
    bot.renew("--cert-name", NAME, *moved.options)
    family.serve(family.host(DOMAIN), family.host(API), moved.host(NAME))
    bot.pinkeep("confirm", moved.name)
    later = 100 * DAY
    assert guest.visit(server.url(DOMAIN), faketime=later).accepted
    moved.rollover("--now", faketime=later + HOUR)
    server.reload()
    assert refused_at(guest, server, ALL, later + 2 * HOUR) == []


# What cannot go together


def test_g2_two_keyrings_for_one_host(neighbours: Family) -> None:
    """In a browser one header decides: an error names both, before a certificate is made."""
    family, bot = neighbours, neighbours.bot
    other = ["--pinkeep-keyring=other", "--installer", "pinkeep", *family.commands]
    before = tree(bot.config_dir)
    done = bot.certonly("-d", NAME, "--cert-name", "second", "--duplicate", *other)
    assert done.returncode == 1
    assert f"The keyring {KEYRING} pins {NAME}" in said(done)
    assert "keyring other" in said(done)
    assert changed(before, tree(bot.config_dir)) == []
    bot.certonly_without_plugin("-d", NAME, "--cert-name", "second", "--duplicate").check()
    done = bot.renew("--cert-name", "second", *other)
    assert done.returncode == 1
    assert f"The keyring {KEYRING} pins {NAME}" in said(done)
    assert not snippet_of(bot, "other").exists()
    with family.server.reloading():
        bot.certonly("-d", SHOP, *other).check()  # a host of its own
    assert pins_in(snippet_of(bot, "other"))[0] == live_pin(bot, SHOP)


@RULE
def test_g2_a_keyring_below_a_domain_whose_pins_cover_it(merged: Family) -> None:
    """With includeSubDomains a keyring of its own is an error that names both; the shared one is taken
    if none is named."""
    bot = merged.bot
    before = tree(bot.config_dir)
    own = ["--installer", "pinkeep", *merged.commands]
    done = bot.certonly("-d", SHOP, *own, "--pinkeep-keyring", "own")
    assert done.returncode == 1
    assert f"The keyring {KEYRING} pins {SHOP}" in said(done)
    assert f"--pinkeep-keyring {KEYRING}" in said(done)
    assert changed(before, tree(bot.config_dir)) == []
    bot.certonly("-d", SHOP, *own).check()
    assert live_pin(bot, SHOP) == merged.pins[0]
    bot.certonly("-d", "shop.other.test", *own).check()
    assert live_pin(bot, "shop.other.test") not in merged.pins


@RULE
def test_g2_subdomains_are_not_covered_while_another_key_serves_one(neighbours: Family) -> None:
    """The header goes out without includeSubDomains, and the error says whose key is missing."""
    family, bot, server = neighbours, neighbours.bot, neighbours.server
    bot.certonly("-d", SHOP).check()
    done = bot.renew("--cert-name", DOMAIN, *family.options, SUBDOMAINS)
    assert done.returncode == 1
    assert SHOP in said(done)
    assert "include-subdomains" in said(done)
    family.server.reload()
    (header,) = server.get(DOMAIN).pins
    assert "includeSubDomains" not in header
    assert bot.renew().returncode == 1  # until it is mended

    with server.reloading():
        bot.renew("--cert-name", SHOP, *family.options).check()
    (header,) = server.get(DOMAIN).pins
    assert "includeSubDomains" in header
    assert live_pin(bot, SHOP) in family.pins
    bot.renew().check()


@RULE
def test_a_subdomain_that_comes_past_the_plugin_is_loud(merged: Family) -> None:
    """The pins cover it already: each renewal says so until it draws on the keyring."""
    bot, server = merged.bot, merged.server
    bot.certonly_without_plugin("-d", SHOP).check()
    text = merged.snippet.read_text()
    done = bot.renew(*merged.options, "--cert-name", DOMAIN, "--force-renewal")
    assert done.returncode == 1
    assert SHOP in said(done)
    assert merged.snippet.read_text() == text
    (header,) = server.get(DOMAIN).pins
    assert "includeSubDomains" in header
    mending = f"--cert-name {SHOP} --force-renewal --installer pinkeep --pinkeep-keyring {KEYRING}"
    assert mending in said(done)
    with server.reloading():
        bot.renew(*mending.split(), *merged.commands).check()
    assert live_pin(bot, SHOP) == merged.pins[0]
    bot.renew().check()


# What cannot join


def test_g2_g3_a_key_type_that_the_pins_lack(merged: Family, guest: Wget2) -> None:
    """The renewal goes on with the key, which is pinned from then on, with backups of its type."""
    family, bot, server = merged, merged.bot, merged.server
    bot.certonly_without_plugin("-d", SHOP, "--key-type=rsa").check()
    own, serial = live_pin(bot, SHOP), live_certificate(bot, SHOP).serial_number
    done = family.renew_one(SHOP)
    assert live_pin(bot, SHOP) == own
    assert live_certificate(bot, SHOP).serial_number != serial
    kinds = [key_kind(keys(bot)[pin]) for pin in family.pins]
    assert own in family.pins
    assert kinds.count("rsa 2048") == 3
    assert f"keyring {KEYRING}" in said(done)
    assert guest.visit(server.url(DOMAIN)).accepted

    family.serve_too(family.host(SHOP))
    assert refused_at(guest, server, (*ALL, SHOP)) == []
    family.renew_one(SHOP)
    assert live_pin(bot, SHOP) == own
    family.lineages = (*ALL, SHOP)
    family.check_whole()


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (rsa.generate_private_key(65537, 1024), "1024 bits"),
        (ec.generate_private_key(ec.SECP224R1()), "secp224r1"),
    ],
    ids=["short", "curve"],
)
def test_g3_a_key_that_cannot_be_pinned(
    neighbours: Family, key: rsa.RSAPrivateKey, problem: str
) -> None:
    """The renewal goes on with it, the error says what is wrong with it; with a good one it joins."""
    family, bot, pins = neighbours, neighbours.bot, neighbours.pins
    bot.certonly("-d", SHOP).check()
    pin = put_key(bot, SHOP, key)
    serial = live_certificate(bot, SHOP).serial_number
    renewal = ["--cert-name", SHOP, "--force-renewal"]
    with family.server.reloading():
        done = bot.renew(*renewal, *family.options)
    assert done.returncode == 1
    assert problem in said(done)
    assert str(bot.live(SHOP)) in said(done)
    assert live_pin(bot, SHOP) == pin
    assert live_certificate(bot, SHOP).serial_number != serial
    assert family.pins == pins
    assert sorted(family.status()["lineages"]) == sorted(ALL)

    good = ["--key-type=ecdsa", "--elliptic-curve=secp256r1"]
    bot.renew(*renewal, "--installer", "null", "--new-key", *good).check()
    family.renew_one(SHOP)
    assert live_pin(bot, SHOP) == pins[0]
    family.check_whole()


@RULE
def test_g3_a_keyring_whose_key_files_are_gone(merged: Family, guest: Wget2) -> None:
    """The live key is taken again and new backups are staged: members keep the key, others get it."""
    family, bot, server = merged, merged.bot, merged.server
    assert guest.visit(server.url(DOMAIN)).accepted
    shared, *backups = family.pins
    bot.certonly_without_plugin("-d", SHOP).check()
    away = (bot.config_dir / "keys").rename(bot.folder / "away")
    for name, code in ((API, 1), (SHOP, 0)):  # includeSubDomains wants the second one to join
        serial = live_certificate(bot, name).serial_number
        done = bot.renew("--cert-name", name, "--force-renewal", *family.options)
        assert done.returncode == code
        assert live_pin(bot, name) == shared
        assert live_certificate(bot, name).serial_number != serial
        told = said(done)
        assert ("staged 2 new backup keys" in told and f"{bot.config_dir}/keys" in told) == code
    Pinned(bot, server, API).await_certificate()
    assert family.pins[0] == shared and len(family.pins) == 3 and not set(backups) & {*family.pins}
    assert refused_at(guest, server, ALL) == []
    family.take("new.pin.test").check()
    assert live_pin(bot, "new.pin.test") == shared

    shutil.rmtree(bot.config_dir / "keys")
    away.rename(bot.config_dir / "keys")
    family.renew_one(SHOP)
    assert live_pin(bot, SHOP) == shared
    family.serve_too(family.host(SHOP))
    assert refused_at(guest, server, (*ALL, SHOP)) == []
    family.check_whole()
