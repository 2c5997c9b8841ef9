"""Adoption and renewal: one key, its saved CSR handed over byte for byte, whatever else happens."""

from __future__ import annotations

from pathlib import Path

import pytest
from acme import crypto_util as acme_crypto
from certbot import crypto_util
from cryptography import x509

from e2e.reasons import VALUE
from e2e.world import (
    NAME,
    OFFLINE,
    VERSION,
    Bot,
    Pinned,
    changed,
    cli_ini,
    csr_pin,
    csrs,
    csrs_of,
    der,
    key_kind,
    keys,
    live_pin,
    names_of,
    pins_in,
    sent_csrs,
    snippet_of,
    tree,
)
from lab import Wget2

# Certbot saved the CSRs that it made until 2.2.
SAVES_CSRS = VERSION < (2, 3)
KINDS = [
    ("rsa", "2048", "rsa 2048"),
    pytest.param("rsa", "4096", "rsa 4096", marks=VALUE),
    ("ecdsa", "secp256r1", "ecdsa secp256r1"),
    ("ecdsa", "secp384r1", "ecdsa secp384r1"),
]


def test_adoption_of_a_lineage_that_is_not_due(site: Pinned, regular: Wget2) -> None:
    """`renew --installer pinkeep` renews nothing, pins the live key first and two backups."""
    certificate = (site.bot.live(NAME) / "fullchain.pem").read_bytes()
    pin = site.live_pin
    assert site.server.get(NAME).pins == []

    site.adopt()

    assert (site.bot.live(NAME) / "fullchain.pem").read_bytes() == certificate
    assert site.pins[0] == pin
    assert len(site.pins) == 3
    assert regular.visit(site.url).accepted
    assert regular.noted(NAME) == site.pins
    site.check_whole()
    assert [len(csrs_of(site.bot, each)) for each in site.pins] == [1, 1, 1]

    before = tree(site.bot.config_dir)
    site.bot.renew(*site.options).check()
    assert changed(before, tree(site.bot.config_dir)) == []


def test_g1_ten_renewals_keep_one_key_and_its_csr_file(pinned: Pinned, regular: Wget2) -> None:
    """Ten certificates, one key, the CSR files as they were; a dry run in between changes nothing."""
    bot = pinned.bot
    pin, pins, saved = pinned.live_pin, pinned.pins, tree(bot.config_dir / "csr")
    (path,) = csrs_of(bot, pin)
    serials = {pinned.server.served_serial(NAME)}
    assert regular.visit(pinned.url).accepted

    for turn in range(10):
        bot.real = turn < 2  # the others are as good as real ones
        pinned.renew()
        assert regular.visit(pinned.url).accepted
        assert pinned.server.served_pin(NAME) == pinned.live_pin == pin
        assert sent_csrs(bot) == [der(path.read_bytes())]
        serials.add(pinned.server.served_serial(NAME))
        if turn == 4:
            before = tree(bot.config_dir)
            bot.renew("--dry-run", *pinned.options).check()
            assert changed(before, tree(bot.config_dir)) == []
            assert sent_csrs(bot) == [der(path.read_bytes())]

    assert len(serials) == 11
    assert pinned.pins == pins
    assert tree(bot.config_dir / "csr") == saved
    pinned.check_whole()


def test_a_dry_run_of_a_lineage_that_is_not_adopted_writes_nothing(site: Pinned) -> None:
    """A CSR of the live key is handed over, made for this run alone."""
    for path in csrs(site.bot):
        path.unlink()  # certbot 2.1's own, which would do
    before = tree(site.bot.config_dir)
    site.bot.renew("--dry-run", *site.options).check()
    assert changed(before, tree(site.bot.config_dir)) == []
    (sent,) = sent_csrs(site.bot)
    assert csr_pin(x509.load_der_x509_csr(sent)) == site.live_pin


def test_the_csr_that_goes_out_asks_for_the_lineages_key_and_names(pinned: Pinned) -> None:
    """The CSR in certbot's own log of what it sent is the saved one; plain certbot's is another."""
    bot = pinned.bot
    pinned.renew()
    (sent,) = sent_csrs(bot)
    request = x509.load_der_x509_csr(sent)
    assert csr_pin(request) == pinned.live_pin
    assert names_of(request) == {NAME}
    assert sent in [der(content) for content in csrs(bot).values()]

    ours = csrs(bot)
    bot.renew_without_plugin("--no-reuse-key").check()
    (sent,) = sent_csrs(bot)
    assert sent not in [der(content) for content in ours.values()]


@pytest.mark.parametrize("name", ["0012_csr-letsencrypt.pem", "0007_csr-certbot.pem"])
def test_a_csr_that_is_there_is_used_whatever_its_name(site: Pinned, name: str) -> None:
    """One made long ago for the live key is handed over; junk beside it is passed over."""
    bot = site.bot
    folder = bot.config_dir / "csr"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    old = csr_for((bot.live(NAME) / "privkey.pem").read_bytes())
    (folder / name).write_bytes(old)
    put_junk(folder, old, csr_for(crypto_util.make_key(2048)))
    there = tree(folder)

    site.adopt()

    after = tree(folder)
    assert {path: after[path] for path in there} == there
    assert len(after) == len(there) + 2  # the backups'
    site.renew()
    assert sent_csrs(bot) == [der(old)]
    assert tree(folder) == after


def csr_for(key: bytes) -> bytes:
    """A CSR for the site's name, as certbot makes it."""
    return acme_crypto.make_csr(key, [NAME])


def put_junk(folder: Path, good: bytes, stale: bytes) -> None:
    """Files that are no use: empty, cut short, damaged, another key's, a folder, a dead link."""
    (folder / "0000_csr-certbot.pem").write_bytes(b"")
    (folder / "0001_csr-certbot.pem").write_bytes(good[: len(good) // 2])
    # The last characters of the signature.
    lines = good.decode().splitlines()
    body = [line for line in lines if "CSR" not in line and "-----" not in line]
    flipped = body[-1][:4] + ("A" if body[-1][4] != "A" else "B") + body[-1][5:]
    (folder / "0002_csr-certbot.pem").write_text("\n".join([*lines[:-2], flipped, lines[-1]]))
    (folder / "0003_csr-certbot.pem").write_bytes(stale)
    (folder / "0004_csr-certbot.pem").write_bytes(bytes(range(256)) * 400)
    (folder / "0005_csr-certbot.pem").mkdir()
    (folder / "0006_csr-certbot.pem").symlink_to("nowhere")


if SAVES_CSRS:

    @pytest.mark.parametrize("name", ["0000_csr-certbot.pem", "0012_csr-letsencrypt.pem"])
    def test_the_csr_that_old_certbot_saved_is_handed_over(site: Pinned, name: str) -> None:
        """Certbot 2.1 saved its CSR itself: that very file is found and goes to the CA."""
        folder = site.bot.config_dir / "csr"
        (made,) = folder.iterdir()
        made.rename(folder / name)
        content = (folder / name).read_bytes()

        site.adopt()
        assert list(csrs_of(site.bot, site.live_pin)) == [folder / name]
        site.renew()
        assert sent_csrs(site.bot) == [der(content)]
        assert (folder / name).read_bytes() == content


@pytest.mark.parametrize(("key_type", "detail", "kind"), KINDS)
def test_every_kind_of_key_is_kept(empty_bot: Bot, key_type: str, detail: str, kind: str) -> None:
    """Adoption, `renew` and `certonly` keep the key; its backups are of the same kind."""
    bot = empty_bot
    offline = [*OFFLINE, "--pinkeep-backup-keys=1"]  # long keys are long in the making
    size = f"--rsa-key-size={detail}" if key_type == "rsa" else f"--elliptic-curve={detail}"
    bot.certonly("-d", NAME, f"--key-type={key_type}", size).check()
    pin = live_pin(bot, NAME)

    bot.fork_renew(*offline).check()
    pins = pins_in(snippet_of(bot, NAME))
    assert pins[0] == pin
    assert {key_kind(keys(bot)[each]) for each in pins} == {kind}
    bot.fork_renew("--force-renewal", *offline).check()
    assert live_pin(bot, NAME) == pin
    call = ["certonly", *bot.account, *bot.by_http, "--cert-name", NAME, "-d", NAME]
    bot.fork(*call, f"--key-type={key_type}", "--force-renewal", *offline).check()
    assert live_pin(bot, NAME) == pin
    assert pins_in(snippet_of(bot, NAME)) == pins
    # The default type for new keys, and a size for them, are no reason to change or to refuse.
    cli_ini(bot, {"rsa-key-size": 4096, "elliptic-curve": "secp384r1"})
    bot.fork_renew("--force-renewal", *offline).check()
    assert live_pin(bot, NAME) == pin
    assert pins_in(snippet_of(bot, NAME)) == pins


def test_g2_g4_backups_follow_the_option(pinned: Pinned) -> None:
    """More backups are added behind those that are there; fewer take from the end only."""
    three = pinned.pins
    pinned.adopt("--pinkeep-backup-keys=4")
    five = pinned.pins
    assert five[:3] == three
    assert len(five) == 5
    pinned.adopt("--pinkeep-backup-keys=1")
    assert pinned.pins == five[:2]
    assert set(five) <= set(keys(pinned.bot))  # no key file is ever deleted
    pinned.check_whole()


def test_the_options_are_remembered(pinned: Pinned) -> None:
    """A later plain `certbot renew` publishes with the options of the adoption."""
    pinned.adopt("--pinkeep-max-age=86400", "--pinkeep-include-subdomains")
    header = pinned.server.get(NAME).pins
    assert "max-age=86400; includeSubDomains" in header[0]
    with pinned.server.reloading():
        pinned.bot.renew("--force-renewal").check()
    assert pinned.server.get(NAME).pins == header
