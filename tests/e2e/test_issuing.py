"""Every way to a certificate but `renew`: new ones, other names, other verbs, a rollover."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from cryptography import x509

from e2e.world import (
    NAME,
    OFFLINE,
    VERSION,
    Bot,
    Pinned,
    check_whole,
    csrs,
    csrs_of,
    der,
    keys,
    live_certificate,
    live_pin,
    names_of,
    pins_in,
    sent_csrs,
    snippet_of,
    tree,
)
from lab import Wget2

API = "api.pin.test"
LOST = "lost.test"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def test_a_new_certificate_is_adopted_at_once(empty_bot: Bot) -> None:
    """After that one `certonly` the snippet is there, and the next renewal keeps the key."""
    bot = empty_bot
    bot.certonly("-d", NAME, *OFFLINE).check()
    pins = pins_in(snippet_of(bot, NAME))
    check_whole(bot, NAME)
    assert len(pins) == 3
    bot.renew("--force-renewal").check()
    assert live_pin(bot, NAME) == pins[0]
    assert sent_csrs(bot) == [der(content) for content in csrs_of(bot, pins[0]).values()]


def test_certonly_without_pinkeep_pins_nothing(empty_bot: Bot) -> None:
    """Plain certbot with the plugin installed is plain certbot (G9)."""
    empty_bot.certonly("-d", NAME).check()
    empty_bot.renew().check()
    assert not (empty_bot.config_dir / "pinkeep").exists()
    assert "installer" not in empty_bot.renewal(NAME).read_text()


def test_other_names_get_a_csr_of_their_own_from_the_same_key(
    pinned: Pinned, regular: Wget2
) -> None:
    """`certonly --cert-name X -d a -d b`: the same key, a new CSR, saved; the old one stays."""
    bot, pin, pins, saved = pinned.bot, pinned.live_pin, pinned.pins, csrs(pinned.bot)
    assert regular.visit(pinned.url).accepted

    with pinned.server.reloading():
        pinned.certonly("-d", NAME, "-d", API).check()

    assert names_of(live_certificate(bot, NAME)) == {NAME, API}
    assert pinned.live_pin == pin
    assert pinned.pins == pins
    (new,) = csrs_of(bot, pin).keys() - saved.keys()
    assert names_of(x509.load_pem_x509_csr(new.read_bytes())) == {NAME, API}
    assert sent_csrs(bot) == [der(new.read_bytes())]
    assert {path: csrs(bot)[path] for path in saved} == saved
    assert [len(csrs_of(bot, each)) for each in pins] == [2, 2, 2]
    assert regular.visit(pinned.url).accepted
    after = csrs(bot)
    pinned.renew()
    assert sent_csrs(bot) == [der(new.read_bytes())]
    assert csrs(bot) == after


def test_must_staple_is_asked_for_with_the_same_key(pinned: Pinned) -> None:
    """`--must-staple` is another CSR of the same key; renewals go on handing over that one."""
    bot, pin = pinned.bot, pinned.live_pin
    with pinned.server.reloading():
        pinned.certonly("-d", NAME, "--must-staple").check()
    for turn in range(2):
        (sent,) = sent_csrs(bot)
        request = x509.load_der_x509_csr(sent)
        assert request.extensions.get_extension_for_class(x509.TLSFeature)
        assert sent in [der(content) for content in csrs_of(bot, pin).values()]
        assert pinned.live_pin == pin
        if not turn:
            pinned.renew()
    assert [len(csrs_of(bot, each)) for each in pinned.pins] == [2, 2, 2]


@pytest.fixture
def losing_bot(empty_bot: Bot) -> Iterator[Bot]:
    """A certbot for whom one name is to be lost; the CA's DNS server is set right after it."""
    yield empty_bot
    empty_bot.ca.unpoint(LOST)


def lose(bot: Bot) -> None:
    """Point ``LOST`` elsewhere, and have certbot give up the validation that the CA would reuse."""
    bot.ca.point(LOST)
    assert bot.renew("--dry-run", *OFFLINE).returncode == 1


def test_a_subset_of_names_for_the_pinned_key(losing_bot: Bot) -> None:
    """`--allow-subset-of-names`: a certificate for the others, the pinned key, no file deleted."""
    bot = losing_bot
    bot.certonly("--cert-name", NAME, "-d", NAME, "-d", LOST, *OFFLINE).check()
    pins, saved, stored = pins_in(snippet_of(bot, NAME)), keys(bot), csrs(bot)
    assert names_of(live_certificate(bot, NAME)) == {NAME, LOST}

    lose(bot)
    assert bot.renew("--force-renewal").returncode == 1  # the name does fail
    assert names_of(live_certificate(bot, NAME)) == {NAME, LOST}
    bot.renew("--force-renewal", "--allow-subset-of-names").check()

    assert names_of(live_certificate(bot, NAME)) == {NAME}
    assert live_pin(bot, NAME) == pins[0]
    assert pins_in(snippet_of(bot, NAME)) == pins
    assert keys(bot) == saved
    assert {path: csrs(bot)[path] for path in stored} == stored
    check_whole(bot, NAME)


def test_no_name_at_all_is_an_error(losing_bot: Bot) -> None:
    """If every name fails, the old certificate and every file stay."""
    bot = losing_bot
    bot.certonly("--cert-name", NAME, "-d", LOST, *OFFLINE).check()
    before = tree(bot.config_dir, without=["renewal/"])
    lose(bot)
    assert bot.renew("--force-renewal", "--allow-subset-of-names").returncode == 1
    assert tree(bot.config_dir, without=["renewal/"]) == before


def test_a_wildcard(empty_bot: Bot) -> None:
    """A wildcard by dns-01: adopted at once, renewed for the same key."""
    bot = empty_bot
    bot.certonly("-d", "*.wild.test", "-d", "wild.test", *OFFLINE, by=bot.by_dns).check()
    pins = pins_in(snippet_of(bot, "wild.test"))
    serial = live_certificate(bot, "wild.test").serial_number
    bot.renew("--force-renewal").check()
    live = live_certificate(bot, "wild.test")
    assert live.serial_number != serial
    assert names_of(live) == {"*.wild.test", "wild.test"}
    assert live_pin(bot, "wild.test") == pins[0]
    check_whole(bot, "wild.test")


if VERSION >= (5, 3):

    def test_an_ip_address(empty_bot: Bot) -> None:
        """A name and an address in one certificate: the saved CSR has both, the key stays."""
        bot = empty_bot
        call = ["--cert-name", NAME, "-d", NAME, "--ip-address", "127.0.0.1"]
        bot.certonly(*call, *OFFLINE).check()
        pins = pins_in(snippet_of(bot, NAME))
        bot.renew("--force-renewal").check()
        assert names_of(live_certificate(bot, NAME)) == {NAME, "127.0.0.1"}
        assert live_pin(bot, NAME) == pins[0]
        assert sent_csrs(bot) == [der(content) for content in csrs_of(bot, pins[0]).values()]
        check_whole(bot, NAME)


def test_install_adopts(site: Pinned) -> None:
    """`certbot install --cert-name` issues nothing and pins what is live."""
    serial = site.live_serial
    with site.server.reloading():
        site.bot.run("install", "--cert-name", NAME, *site.options).check()
    site.check_whole()
    assert site.live_serial == serial
    assert len(site.server.get(NAME).pins) == 1


def test_run_adopts(empty_bot: Bot) -> None:
    """`certbot run` issues a certificate and pins it; it does not say that HTTPS is enabled, but what
    enables it. Again, it keeps the key."""
    bot = empty_bot
    call = ["run", *bot.account, *bot.by_http, "-d", NAME, *OFFLINE]
    told = bot.run(*call, "--redirect").check().output
    assert "Congratulations" not in told
    assert f"Run: certbot install --cert-name {NAME} --installer apache --redirect" in told
    check_whole(bot, NAME)
    pins, serial = pins_in(snippet_of(bot, NAME)), live_certificate(bot, NAME).serial_number
    bot.run(*call, "--force-renewal").check()
    assert live_certificate(bot, NAME).serial_number != serial
    assert live_pin(bot, NAME) == pins[0]
    assert pins_in(snippet_of(bot, NAME)) == pins


if VERSION >= (2, 3):

    def test_reconfigure_adopts(site: Pinned) -> None:
        """`certbot reconfigure --installer pinkeep` issues nothing and pins what is live."""
        serial, pin = site.live_serial, site.live_pin
        with site.server.reloading():
            site.bot.run(
                *("reconfigure", "--cert-name", NAME, *site.options),
                *site.bot.account[:1],
            ).check()
        site.check_whole()
        assert site.live_serial == serial
        assert site.pins[0] == pin
        site.renew()
        assert site.live_pin == pin


def test_a_lineage_deleted_and_made_again_gets_its_key_back(pinned: Pinned, regular: Wget2) -> None:
    """The keyring outlives `certbot delete`: the new certificate is for its primary key."""
    assert regular.visit(pinned.url).accepted
    pin, pins = pinned.live_pin, pinned.pins
    pinned.bot.run("delete", "--cert-name", NAME).check()
    assert not pinned.bot.live(NAME).exists()

    with pinned.server.reloading():
        pinned.bot.certonly("-d", NAME, *pinned.options).check()

    assert pinned.live_pin == pin
    assert pinned.pins == pins
    assert regular.visit(pinned.url).accepted
    pinned.check_whole()


def test_g2_a_rollover_to_a_backup_locks_nobody_out(pinned: Pinned, regular: Wget2) -> None:
    """`--new-key` switches to the first backup, which every visitor knows; the old pin goes."""
    assert regular.visit(pinned.url).accepted
    first, second, third = pinned.pins

    with pinned.server.reloading():
        pinned.certonly("-d", NAME, "--new-key").check()

    assert pinned.live_pin == pinned.server.served_pin(NAME) == second
    assert pinned.pins[:2] == [second, third]
    assert len(pinned.pins) == 3
    assert first not in pinned.pins
    assert regular.visit(pinned.url).accepted
    pinned.check_whole()
    roles = {key["pin"]: key["role"] for key in pinned.status()["keys"]}
    assert (roles[first], roles[second], roles[third]) == ("retired", "primary", "backup")
    pinned.renew()
    assert pinned.live_pin == second


def test_g2_a_rollover_that_locks_out_is_refused_with_a_time(site: Pinned, regular: Wget2) -> None:
    """`--new-key` to a backup that some client does not know: refused, until those pins ran out."""
    site.adopt("--pinkeep-backup-keys=1")
    assert regular.visit(site.url).accepted
    with site.server.reloading():
        site.certonly("-d", NAME, "--new-key").check()
    pin, serial, pins = site.live_pin, site.live_serial, site.pins

    refused = site.certonly("-d", NAME, "--new-key")
    assert refused.returncode == 1
    assert re.search(f"The new key is safe from {TIME}", " ".join(refused.output.split()))
    assert (site.live_pin, site.live_serial, site.pins) == (pin, serial, pins)
    assert regular.visit(site.url).accepted

    early, late = timedelta(days=59), timedelta(days=61)
    assert site.certonly("-d", NAME, "--new-key", faketime=early).returncode == 1
    assert (site.live_pin, site.live_serial) == (pin, serial)
    with site.server.reloading():
        site.certonly("-d", NAME, "--new-key", faketime=late).check()
    assert site.live_pin == pins[1]
    assert regular.visit(site.url, faketime=late).accepted
    site.check_whole()
