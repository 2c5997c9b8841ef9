"""G12: what was renewed is loaded in the same run, by the keyring's own server, if that runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.reasons import SERVER
from e2e.world import API, NAME, Bot, Pinned, live_certificate, live_pin, said, script
from lab import Wget2, served_pin, wait_for
from lab.nginx import Nginx


def test_g12_renewed_certificate_is_loaded_though_the_snippet_fails_its_test(
    pinned: Pinned, tmp_path: Path
) -> None:
    """The snippet is taken back, Apache serves the new certificate, and certbot reports a failure."""
    text, serial = pinned.snippet.read_text(), pinned.live_serial
    body = (
        f"#!/bin/sh\ngrep -q max-age=86400 {pinned.snippet} && echo Too short >&2 && exit 1\n"
        f"exec {pinned.server.configtest_command}\n"
    )
    test = script(tmp_path / "configtest", body)
    more = [f"--pinkeep-configtest-command={test}", "--pinkeep-max-age=86400"]
    with pinned.server.reloading():
        done = pinned.bot.renew("--force-renewal", *pinned.options, *more)
    assert done.returncode == 1 and "Too short" in said(done)
    assert pinned.server.served_serial(NAME) == pinned.live_serial != serial
    assert pinned.snippet.read_text() == text
    assert pinned.status()["published"] == "pending"
    pinned.check_whole()


@SERVER
def test_g12_apache_without_mod_headers_loads_certificates(site: Pinned) -> None:
    """The snippet passes the test, no header is sent, and that is said with what to do."""
    site.server.write_config(without="headers")
    with site.server.reloading():
        done = site.bot.renew("--force-renewal", *site.options).check()
    assert "Apache has not loaded mod_headers" in said(done)
    assert site.server.served_serial(NAME) == site.live_serial
    assert site.server.get(NAME).pins == []
    site.server.write_config()
    site.server.reload()
    assert len(site.server.get(NAME).pins) == 1
    site.check_whole()


@pytest.mark.parametrize("verb", ["renew", "certonly"])
def test_g12_apache_that_is_stopped_is_not_started(site: Pinned, verb: str) -> None:
    """That is said once and is no failure; what it loads when it starts counts after the next run.
    nginx is only asked whether it runs."""
    site.server.stop()
    if verb == "renew":
        done = site.bot.renew("--force-renewal", *site.options).check()
    else:
        done = site.certonly().check()
    assert said(done).count("Apache does not run") == 1
    assert site.bot.others_asked() == ["nginx -T", "nginx -V"]
    assert not site.server.pid_file.exists()
    assert site.status()["published"] == "pending"
    again = site.bot.renew(*site.options).check()
    assert "does not run" not in said(again) and not site.server.pid_file.exists()

    site.server.start()
    assert site.server.served_serial(NAME) == site.live_serial
    assert len(site.server.get(NAME).pins) == 1
    with site.server.reloading():
        site.bot.renew(*site.options).check()
    assert site.status()["published"] == "live"
    site.check_whole()


@SERVER
def test_g12_nginx_sends_the_header_and_loads_certificates(bot: Bot, tmp_path: Path) -> None:
    """Its own test and reload are run; Apache is only asked whether it runs, once nginx does not."""
    keep = ["--installer", "pinkeep", "--pinkeep-header=nginx"]
    offline = ["--pinkeep-configtest-command=true", "--pinkeep-reload-command=true"]
    bot.renew(*keep, *offline).check()
    snippet = bot.config_dir / "pinkeep" / "nginx" / f"{NAME}.conf"
    assert not (bot.config_dir / "pinkeep" / "apache").exists()
    with Nginx(tmp_path / "nginx", NAME, bot.live(NAME), snippet) as nginx:
        own = [
            f"--pinkeep-configtest-command={nginx.configtest_command}",
            f"--pinkeep-reload-command={nginx.reload_command}",
        ]
        bot.renew("--force-renewal", *keep, *own, "--pinkeep-max-age=86400").check()
        wait_for(lambda: "max-age=86400" in "".join(nginx.get().pins), "nginx to be reloaded")
        serial = live_certificate(bot, NAME).serial_number
        wait_for(lambda: nginx.served_serial() == serial, "nginx's earlier workers to end")
        assert len(nginx.get().pins) == 1 and nginx.get_plain().pins == []

        before = snippet.read_text()
        config = tmp_path / "nginx" / "nginx.conf"
        whole = config.read_text()
        config.write_text(f"{whole}\nnonsense;\n")
        done = bot.renew(*keep, *own, "--pinkeep-max-age=60")
        assert done.returncode == 1 and "nginx's configuration test failed" in said(done)
        assert snippet.read_text() == before
        config.write_text(whole)
    done = bot.renew("--force-renewal", *keep, *own, "--pinkeep-max-age=60").check()
    assert "nginx does not run" in said(done)
    assert bot.others_asked() == ["apache2ctl -t -D DUMP_RUN_CFG"]


@SERVER
def test_g2_two_servers_have_their_keyrings_through_two_rollovers(
    pinned: Pinned, guest: Wget2, tmp_path: Path
) -> None:
    """Apache serves one host and nginx another. Each is reloaded for its own keyring only, and nobody who
    noted the first pins is refused by either."""
    bot, apache = pinned.bot, pinned.server
    bot.certonly("-d", API).check()
    keep = ["--cert-name", API, "--installer", "pinkeep", "--pinkeep-header=nginx"]
    offline = ["--pinkeep-configtest-command=true", "--pinkeep-reload-command=true"]
    bot.renew(*keep, *offline).check()
    snippet = bot.config_dir / "pinkeep" / "nginx" / f"{API}.conf"
    with Nginx(tmp_path / "nginx", API, bot.live(API), snippet) as nginx:
        note = tmp_path / "reloads"
        reload = f'#!/bin/sh\necho >>"{note}"\nexec {nginx.reload_command}\n'
        own = [
            f"--pinkeep-configtest-command={nginx.configtest_command}",
            f"--pinkeep-reload-command={script(tmp_path / 'reload', reload)}",
        ]
        sites = {NAME: apache.url(NAME), API: nginx.url}
        assert all(guest.visit(url).accepted for url in sites.values())
        first = {name: guest.noted(name) for name in sites}
        for rollovers in (1, 2):
            children = apache.children()
            bot.pinkeep("rollover", API).check()
            bot.renew("--force-renewal", *keep, *own).check()
            wait_for(
                lambda: served_pin(API, nginx.https_port) == live_pin(bot, API),
                "nginx's earlier workers to end",
            )
            assert apache.children() == children
            pinned.rollover_now()
            assert len(note.read_text().splitlines()) == rollovers
            assert len(nginx.get().pins) == len(apache.get(NAME).pins) == 1
            assert all(live_pin(bot, name) == first[name][rollovers] for name in sites)
            assert all(guest.visit(url).accepted for url in sites.values())
    assert bot.others_asked() == []
