"""How to renew without updating the app: it is on record until when it carries which pins (G2)."""

from __future__ import annotations

import plistlib
from datetime import datetime, timedelta, timezone
from pathlib import Path

from e2e.reasons import RULE
from e2e.world import NAME, Pinned, clock_at, key_pin, refusal, times_in
from lab.judges import curl_accepts
from lab.processes import program, run

pytestmark = RULE

IOS = ("--channel", "ios", "--label", "3.2")


def release(site: Pinned, *words: str) -> str:
    """What ``certbot-pinkeep release`` says."""
    return site.bot.pinkeep("release", site.name, *words).check().stdout


def test_g2_ios_app_is_never_locked_out(pinned: Pinned, quick_root: Path) -> None:
    """The app of today accepts every key of a year. Both backups that it carries are used; then a
    rollover is refused, by name and date, until one that it carries is brought back, or it ends."""
    app = plistlib.loads(pinned.export("ios").encode())
    identities = app["NSAppTransportSecurity"]["NSPinnedDomains"][NAME]["NSPinnedLeafIdentities"]
    carried = [one["SPKI-SHA256-BASE64"] for one in identities]
    value = ";".join(f"sha256//{pin}" for pin in carried)
    day = (datetime.now(timezone.utc) + timedelta(days=365)).date()
    assert "no rollover locks out ios 3.2" in release(
        pinned, "add", *IOS, "--until", day.isoformat()
    )

    def accepted() -> bool:
        return curl_accepts(NAME, pinned.server.https_port, quick_root, value)

    served = [pinned.live_pin]
    for _ in range(2):
        assert accepted()
        pinned.renew()
        assert pinned.live_pin == served[-1] and accepted()
        pinned.rollover_now()
        served.append(pinned.live_pin)
    assert served == carried and accepted()

    told = refusal(pinned.rollover("--now"))
    assert "the release ios 3.2 carries pins without it until" in told
    end = times_in(told)[0]
    assert end.date() == day + timedelta(days=1)
    assert "ios 3.2" in pinned.bot.pinkeep("status", NAME).stdout
    pinned.renew()
    assert pinned.live_pin == served[-1] and accepted()
    # By then nobody uses it any more, as was said.
    later = clock_at(end + timedelta(minutes=1))
    assert pinned.state(later)["safe"] and not pinned.state()["safe"]

    assert "carries pins of" in release(pinned, "end", *IOS)
    # What was published before the next backup was staged still binds.
    pinned.rollover("--now", "--force").check()
    pinned.await_certificate()
    assert pinned.live_pin not in carried and not accepted()


def test_g2_backup_that_the_release_carries_makes_it_safe_again(
    site: Pinned, quick_root: Path, tmp_path: Path
) -> None:
    """One that was kept offline: the rollover is refused until its private key is there."""
    site.adopt("--pinkeep-backup-keys=1", "--pinkeep-max-age=0")
    key, csr = tmp_path / "offline.key", tmp_path / "offline.csr"
    openssl = program("openssl")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    made = ("-subj", f"/CN={NAME}", "-keyout", str(key), "-out", str(csr))
    run([openssl, "req", "-new", *curve, *made]).check()
    with site.server.reloading():
        site.bot.pinkeep("backup", NAME, "add", "--csr", str(csr)).check()
    value = ";".join(f"sha256//{pin}" for pin in site.pins)
    assert len(site.pins) == 3 and site.pins[-1] == key_pin(key)
    day = (datetime.now(timezone.utc) + timedelta(days=365)).date()
    release(site, "add", *IOS, "--until", day.isoformat())
    site.rollover_now()
    before = site.live_pin

    told = refusal(site.rollover("--now"))
    assert f"with the pin {key_pin(key)}, is not on this machine" in told
    assert f"certbot-pinkeep backup {NAME} add --key" in told
    site.renew()
    assert site.live_pin == before

    said = site.bot.pinkeep("backup", NAME, "add", "--key", str(key)).check().stdout
    assert key_pin(key) in said
    site.rollover_now()
    assert site.live_pin == key_pin(key)
    assert curl_accepts(NAME, site.server.https_port, quick_root, value)
    assert "the release ios 3.2" in refusal(site.rollover("--now"))


def test_g2_app_that_is_used_for_longer_and_whose_record_was_lost_is_not_locked_out(
    site: Pinned, quick_root: Path
) -> None:
    """It is extended after the pins have changed; then keyring file and copy are lost, and it is added
    again with the pins that it has: those of today are others."""
    site.adopt("--pinkeep-backup-keys=1", "--pinkeep-max-age=0")
    carried = list(site.pins)
    value = ";".join(f"sha256//{pin}" for pin in carried)
    today = datetime.now(timezone.utc).date()
    dates = [(today + timedelta(days=days)).isoformat() for days in (30, 400)]
    told = release(site, "add", *IOS, "--until", dates[0])
    assert told.split()[-2:] == carried
    site.rollover_now()
    assert site.live_pin == carried[1] and set(site.pins) != set(carried)

    again = site.bot.pinkeep("release", site.name, "add", *IOS, "--until", dates[1])
    assert "give 'extend' in place of 'add'" in refusal(again)
    assert release(site, "extend", *IOS, "--until", dates[1]).split()[-2:] == carried
    in_a_while = timedelta(days=61)
    told = refusal(site.rollover("--now", faketime=in_a_while))
    assert times_in(told)[0].date() == today + timedelta(days=401)

    site.keyring.unlink()
    (copy,) = site.bot.work_dir.rglob(f"{NAME}.conf")
    copy.unlink()
    lost = site.bot.renew(*site.options).check()
    assert f"certbot-pinkeep release {NAME} add --channel CHANNEL" in " ".join(lost.output.split())
    named = [word for pin in carried for word in ("--pin", pin)]
    release(site, "add", *IOS, "--until", dates[1], *named)
    told = refusal(site.rollover("--now", faketime=in_a_while))
    assert "the release ios 3.2 carries pins without it until" in told
    assert curl_accepts(NAME, site.server.https_port, quick_root, value)

    # Without the record of it nothing would have held the rollover up.
    release(site, "end", *IOS)
    with site.server.reloading():
        site.rollover("--now", faketime=in_a_while).check()
    site.await_certificate()
    assert not curl_accepts(NAME, site.server.https_port, quick_root, value)
