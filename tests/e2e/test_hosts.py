"""Pins belong to hosts: two certificates for one host draw on one keyring, and nobody is refused (G2)."""

from __future__ import annotations

from e2e.conftest import ApacheMaker
from e2e.reasons import RULE
from e2e.world import NAME, Bot, Pinned, live_certificate, live_pin, refused_at, said, snippet_of
from lab import VirtualHost, Wget2

SECOND = "www2"  # certbot comes to it last


def test_g2_g12_two_lineages_for_one_host(bot: Bot, apache: ApacheMaker, regular: Wget2) -> None:
    """Apache serves the duplicate. It is pinned with the other one, and its renewal is loaded. A forced
    rollover of their keyring locks nobody out."""
    bot.certonly("-d", NAME, "--cert-name", SECOND, "--duplicate").check()
    header = snippet_of(bot, NAME)
    site = Pinned(bot, apache(VirtualHost((NAME,), (bot.live(SECOND),), header)))
    site.adopt()
    assert {live_pin(bot, NAME), live_pin(bot, SECOND)} <= set(site.pins)
    assert regular.visit(site.url).accepted

    for name in (SECOND, NAME, SECOND):
        with site.server.reloading():
            bot.renew("--cert-name", name, "--force-renewal").check()
        served = site.server.served_serial(NAME)
        assert served == live_certificate(bot, SECOND).serial_number
        assert refused_at(regular, site.server, [NAME]) == []
    assert live_pin(bot, SECOND) == live_pin(bot, NAME) == site.pins[0]

    told = said(site.rollover("--now", "--force").check())
    assert "This rollover locks nobody out." in told
    assert refused_at(regular, site.server, [NAME]) == []


@RULE
def test_g2_a_duplicate_that_came_past_pinkeep(
    bot: Bot, apache: ApacheMaker, regular: Wget2
) -> None:
    """A client that holds the pins refuses it. The next run pins it. The forced rollover says who is refused,
    and names the command that lets all in."""
    site = Pinned(bot, apache(VirtualHost((NAME,), (bot.live(NAME),), snippet_of(bot, NAME))))
    site.adopt()
    assert regular.visit(site.url).accepted
    bot.certonly_without_plugin("-d", NAME, "--cert-name", SECOND, "--duplicate").check()
    site.server.sites = (VirtualHost((NAME,), (bot.live(SECOND),), site.snippet),)
    site.server.write_config()
    site.server.reload()
    assert refused_at(regular, site.server, [NAME]) == [NAME]
    with site.server.reloading():
        told = said(bot.renew().check())
    assert live_pin(bot, SECOND) in site.pins
    assert f"certbot-pinkeep pin {SECOND}" in told
    told = said(site.rollover("--force").check())
    site.rollover("--undo").check()
    command = f"renew --cert-name {SECOND} --force-renewal --installer pinkeep"
    assert f"Run: certbot {command}" in told
    assert "locks nobody out" not in told
    with site.server.reloading():
        bot.run(*command.split(), *bot.account).check()
    assert live_pin(bot, SECOND) == site.pins[0]
    assert refused_at(regular, site.server, [NAME]) == []
