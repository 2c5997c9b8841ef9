"""``certbot-pinkeep pin``: who pinned a site before pinkeep came is not locked out (G2)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from e2e.reasons import RULE
from e2e.world import NAME, Pinned, clock_at, key_pin, refusal, said, times_in
from lab import Completed, VirtualHost, Wget2
from lab.judges import curl_accepts
from lab.processes import program, run

LONG = timedelta(days=200)


def new_key(path: Path) -> str:
    """Make a key without any certificate; its pin."""
    curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    run([program("openssl"), "genpkey", *curve, "-out", str(path)]).check()
    return key_pin(path)


def pin(site: Pinned, *more: str) -> Completed:
    """Run it so that it keeps to the lab's own Apache."""
    commands = [word.replace("--pinkeep-", "--") for word in site.commands]
    place = f"--connect=127.0.0.1:{site.server.https_port}"
    with site.server.reloading():
        return site.bot.pinkeep("pin", NAME, *commands, place, *more).check()


def send_by_hand(site: Pinned, *pins: str) -> None:
    """Have the site send a header that the admin wrote."""
    listed = "; ".join(f'pin-sha256=\\"{one}\\"' for one in pins)
    value = f"{listed}; max-age={round(LONG.total_seconds())}"
    site.server.write_config(f'Header always set Public-Key-Pins "{value}"\n')
    site.server.reload()


def test_g2_header_of_before_locks_nobody_out(site: Pinned, regular: Wget2, tmp_path: Path) -> None:
    """A visitor noted a header that was made by hand, with an offline backup. It is removed, and no
    rollover locks the visitor out before it has run out. With the backup one is safe at once."""
    offline = tmp_path / "offline.key"
    pin_of_offline = new_key(offline)
    send_by_hand(site, site.live_pin, pin_of_offline)
    assert regular.visit(site.url).accepted
    done = pin(site, "--max-age=0")
    assert "already sends a Public-Key-Pins header" in said(done)
    assert site.pins[0] == site.live_pin and site.pins[-1] == pin_of_offline

    site.server.write_config()
    site.server.reload()
    assert "with the pin " + pin_of_offline in refusal(site.rollover("--now"))
    with site.server.reloading():
        site.bot.pinkeep("backup", NAME, "drop", pin_of_offline).check()
    told = refusal(site.rollover("--now"))
    end = times_in(told)[0]
    status = site.bot.pinkeep("status", NAME).check().stdout
    assert f"{end:%Y-%m-%dT%H:%M:%SZ}" in status and not site.state()["safe"]
    assert site.state(clock_at(end + timedelta(minutes=1)))["safe"]

    with site.server.reloading():
        site.bot.pinkeep("backup", NAME, "add", "--key", str(offline)).check()
    with site.server.reloading():
        site.rollover("--now").check()
    site.await_certificate()
    assert site.live_pin == pin_of_offline and regular.visit(site.url).accepted


@RULE
def test_g2_header_of_a_stranger_is_not_believed(site: Pinned, tmp_path: Path) -> None:
    """Another server answers for the name, with a key of its own: it could block every rollover."""
    key, cert = tmp_path / "foreign.key", tmp_path / "foreign"
    foreign = new_key(key)
    cert.mkdir()
    made = ["-key", str(key), "-out", str(cert / "fullchain.pem"), "-subj", f"/CN={NAME}"]
    run([program("openssl"), "req", "-x509", "-new", *made]).check()
    key.rename(cert / "privkey.pem")
    site.server.sites = (VirtualHost((NAME,), (cert,)),)
    send_by_hand(site, foreign, site.live_pin)
    done = pin(site, "--max-age=60")
    assert "pinkeep does not believe the header" in said(done) and foreign not in site.pins
    assert site.state(timedelta(minutes=5))["safe"]


def test_g2_app_that_pins_a_key_accepts_the_site(
    site: Pinned, quick_root: Path, tmp_path: Path
) -> None:
    """The key was there before certbot was. It is given once, and the next renewal is for it."""
    old = tmp_path / "old.key"
    app = f"sha256//{new_key(old)}"

    def accepted() -> bool:
        return curl_accepts(NAME, site.server.https_port, quick_root, app)

    assert not accepted()
    told = refusal(site.bot.pinkeep("backup", NAME, "add", "--key", str(old)))
    assert f"certbot-pinkeep pin {NAME} --key {old}" in told
    done = pin(site, "--key", str(old))
    command = f"certbot renew --cert-name {NAME} --force-renewal"
    assert command in said(done) and site.live_pin in site.pins and key_pin(old) in site.pins
    with site.server.reloading():
        site.bot.renew(*command.split()[2:]).check()
    site.await_certificate()
    assert site.live_pin == key_pin(old) and accepted()
    assert oct((site.bot.config_dir / "keys").stat().st_mode)[-3:] == "700"
