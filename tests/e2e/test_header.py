"""What visitors of a pinned site get to see, and who is left alone."""

from __future__ import annotations

import re

from e2e.reasons import SERVER
from e2e.world import NAME, OTHER, Pinned, changed, live_pin, tree
from lab import Wget2


@SERVER
def test_one_header_over_tls_only(pinned: Pinned, regular: Wget2) -> None:
    """Exactly one, on a page and on an error alike; none over plain HTTP."""
    expected = "; ".join([*(f'pin-sha256="{pin}"' for pin in pinned.pins), "max-age=5184000"])
    for path, status in (("/", 200), ("/missing", 404)):
        answer = pinned.server.get(NAME, path)
        assert (answer.status, answer.pins) == (status, [expected])
        assert answer.pins_report_only == []
        plain = pinned.server.get_plain(NAME, path)
        assert (plain.status, plain.pins, plain.pins_report_only) == (status, [], [])
    assert regular.visit(pinned.url).accepted
    assert regular.noted(NAME) == pinned.pins


@SERVER
def test_report_only_is_another_header(site: Pinned, regular: Wget2) -> None:
    """Nothing is enforced: the other name, once, over TLS only; and back to the enforced one."""
    site.adopt("--pinkeep-report-only", "--pinkeep-report-uri=https://reports.test/hpkp?a=%20b")
    for path in ("/", "/missing"):
        answer = site.server.get(NAME, path)
        (value,) = answer.pins_report_only
        assert answer.pins == []
        assert value.endswith('; report-uri="https://reports.test/hpkp?a=%20b"')
        assert re.findall('pin-sha256="([^"]+)"', value) == site.pins
        assert site.server.get_plain(NAME, path).pins_report_only == []
    assert regular.visit(site.url).accepted
    assert regular.noted(NAME) == []

    site.adopt("--pinkeep-no-report-only")
    answer = site.server.get(NAME)
    assert (len(answer.pins), answer.pins_report_only) == (1, [])


@SERVER
def test_include_subdomains(site: Pinned) -> None:
    """The option adds the directive, is remembered, and can be taken back."""
    site.adopt("--pinkeep-include-subdomains")
    site.renew()
    (value,) = site.server.get(NAME).pins
    assert "; includeSubDomains" in value
    site.adopt("--pinkeep-no-include-subdomains")
    (value,) = site.server.get(NAME).pins
    assert "includeSubDomains" not in value


def test_g9_the_other_lineage_is_left_alone(site: Pinned) -> None:
    """One run over two lineages, one of them with pinkeep: nothing of the other is touched."""
    bot = site.bot
    bot.certonly("-d", OTHER).check()
    for folder in ("csr", "keys"):
        (bot.config_dir / folder).mkdir(mode=0o700, exist_ok=True)
        (bot.config_dir / folder / "notes.txt").write_text("mine")
    bot.renew().check()  # certbot itself notes when it last asked the CA for its advice
    others = tree(bot.config_dir)

    with site.server.reloading():
        bot.renew("--cert-name", NAME, *site.options).check()
    bot.renew().check()

    after = tree(bot.config_dir)
    assert [name for name in changed(others, after) if name in others] == [
        name for name in ("csr", "keys", f"renewal/{NAME}.conf") if others[name] != after[name]
    ]
    assert [name for name in after if OTHER in name] == [name for name in others if OTHER in name]

    ours, theirs = site.live_pin, live_pin(bot, OTHER)
    with site.server.reloading():
        bot.renew("--force-renewal").check()
    assert site.live_pin == ours
    assert live_pin(bot, OTHER) != theirs  # renewed as ever, with a new key
    assert "installer" not in bot.renewal(OTHER).read_text()
    assert OTHER not in site.keyring.read_text()


@SERVER
def test_g9_a_header_of_the_admins_own_stays(pinned: Pinned) -> None:
    """Other snippets in the same folder are neither read nor written."""
    own = pinned.snippet.with_name("zz-own.conf")
    own.write_text('Header always set X-Mine "yes"\n')
    before = own.stat().st_mtime_ns
    pinned.adopt("--pinkeep-max-age=86400")
    pinned.renew()
    assert own.stat().st_mtime_ns == before
