"""Trees that were restored oddly: check tells that certbot skips them, and the command that mends them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from certbot._internal import renewal as certbot_renewal
from certbot.configuration import NamespaceConfig

from certbot_pinkeep.adapters import certbot_config
from certbot_pinkeep.check import local_rules
from certbot_pinkeep.check.findings import Severity, lines
from certbot_pinkeep.check.local_files import LocalFiles
from certbot_pinkeep.check.trees import PARTS, broken
from simulated.machine import Site
from simulated.server import Server
from simulated.values import NOW, make_pem

Damage = Callable[[Site], object]
#: Certbot 2.1 has another name for it.
RECONSTITUTE = getattr(certbot_renewal, "reconstitute", None) or getattr(
    certbot_renewal, "_reconstitute", None
)


def live(site: Site) -> Path:
    """Its folder in live/."""
    return site.config / "live" / site.name


def archive(site: Site) -> Path:
    """Its folder in archive/."""
    return site.config / "archive" / site.name


def copied(site: Site) -> None:
    """``cp -rL``, or a tar archive with ``-h``."""
    for part in PARTS:
        content = (live(site) / f"{part}.pem").read_bytes()
        (live(site) / f"{part}.pem").unlink()
        (live(site) / f"{part}.pem").write_bytes(content)


def copied_without_archive(site: Site) -> None:
    """Only what Apache needs was restored."""
    copied(site)
    shutil.rmtree(archive(site))


def copied_beside_an_older_archive(site: Site) -> None:
    """What is live is nowhere else."""
    copied(site)
    for path in archive(site).glob("*3.pem"):
        path.unlink()


def copied_beside_a_key(site: Site) -> None:
    """The version that would be next has a key of which nothing else is there."""
    copied_beside_an_older_archive(site)
    (archive(site) / "privkey3.pem").write_bytes(make_pem())


def dangling(site: Site) -> None:
    """archive/ is older than live/."""
    for path in archive(site).glob("*3.pem"):
        path.unlink()


def absolute_links(site: Site) -> None:
    """They lead to the folder of another machine."""
    for part in PARTS:
        (live(site) / f"{part}.pem").unlink()
        (live(site) / f"{part}.pem").symlink_to(f"/gone/archive/{site.name}/{part}3.pem")


def without_live(site: Site) -> None:
    """Only archive/ and renewal/ were restored."""
    shutil.rmtree(live(site))


def without_one_link(site: Site) -> None:
    """One of four."""
    (live(site) / "chain.pem").unlink()


def moved(site: Site) -> None:
    """The renewal file is of a machine with another config dir."""
    text = site.renewal.read_text()
    site.renewal.write_text(text.replace(str(site.config), "/old/etc/letsencrypt"))


def without_reference(site: Site) -> None:
    """A line was lost."""
    lines = site.renewal.read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("chain =", "cert ="))]
    site.renewal.write_text("\n".join(kept) + "\n")


def empty_certificate(site: Site) -> None:
    """The disk was full."""
    (archive(site) / "cert3.pem").write_bytes(b"")


def empty_certificates(site: Site) -> None:
    """The same, with the fullchain."""
    for part in ("cert", "fullchain"):
        (archive(site) / f"{part}3.pem").write_bytes(b"")


SKIPPED: list[Damage] = [
    copied,
    copied_without_archive,
    copied_beside_an_older_archive,
    copied_beside_a_key,
    dangling,
    absolute_links,
    without_live,
    without_one_link,
    moved,
    without_reference,
    empty_certificate,
    empty_certificates,
]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A lineage that is pinned, with three certificates for its key in archive/."""
    found = Site(tmp_path)
    for _ in range(2):
        found.issue(found.key)
    found.keep()
    return found


def certbot_takes(site: Site) -> bool:
    """Whether certbot would renew it, were it due."""
    folders = {"--config-dir": site.config, "--work-dir": site.work, "--logs-dir": site.root}
    config = certbot_config.read_config([str(word) for pair in folders.items() for word in pair])
    assert RECONSTITUTE is not None
    try:
        if not isinstance(config, NamespaceConfig):  # certbot 2.1
            config = NamespaceConfig(config)
        return bool(RECONSTITUTE(config, str(site.renewal)))
    except Exception:  # certbot says "Skipping" then, too
        return False


def mend(said: str) -> None:
    """Run the command that is named."""
    command = said.removeprefix("Run: ")
    assert command != said, said
    subprocess.run(["sh", "-ec", command], check=True, cwd="/")


@pytest.mark.parametrize("damage", SKIPPED)
def test_check_tells_what_certbot_skips_and_how_it_is_mended(damage: Damage, site: Site) -> None:
    """Certbot agrees before and after. No key is lost by it, and the lineage is as before."""
    before, key = (live(site) / "cert.pem").read_bytes(), site.key
    assert certbot_takes(site) and broken(str(site.config), site.name) is None
    damage(site)
    kept = {path.read_bytes() for path in archive(site).glob("privkey*.pem")}
    assert not certbot_takes(site)
    seen = LocalFiles(str(site.config), site.workflow.store).look(site.state(), NOW, [], [])
    found = [one for one in local_rules.check(seen, NOW) if "Certbot skips this" in one.what]
    assert [one.severity for one in found] == [Severity.CRITICAL]
    printed = lines(found, "")[1]  # as the command prints it
    mend(printed[printed.index("Run: ") :])
    assert certbot_takes(site) and broken(str(site.config), site.name) is None
    assert (live(site) / "privkey.pem").read_bytes() == key
    assert kept <= {path.read_bytes() for path in archive(site).glob("privkey*.pem")}
    assert (live(site) / "privkey.pem").stat().st_mode & 0o777 == 0o600 or damage != copied
    older = damage in (dangling, empty_certificates)
    assert ((live(site) / "cert.pem").read_bytes() == before) != older
    site.look()


def test_fullchain_that_a_killed_certbot_left_empty(site: Site) -> None:
    """Certbot does not look at it; Apache would not start."""
    path = archive(site) / "fullchain3.pem"
    path.write_bytes(b"")
    assert certbot_takes(site)
    found = broken(str(site.config), site.name)
    assert (
        found is not None and not found.skipped and "The server cannot load the file" in found.why
    )
    mend(found.mend)
    assert broken(str(site.config), site.name) is None
    assert path.read_bytes().count(b"BEGIN CERTIFICATE") == 2


def test_lineage_without_authenticator_is_skipped(site: Site) -> None:
    """What it was only the admin knows."""
    text = re.sub("authenticator = .*\n", "", site.renewal.read_text())
    site.renewal.write_text(text)
    found = broken(str(site.config), site.name)
    assert not certbot_takes(site) and found is not None and found.skipped
    assert "--webroot -w DIR" in found.mend


def test_nothing_is_guessed_if_nothing_fits(site: Site) -> None:
    """No version has a key that is its certificate's: what helps is a backup."""
    dangling(site)
    for path in archive(site).glob("privkey*.pem"):
        path.write_bytes(make_pem())
    found = broken(str(site.config), site.name)
    assert found is not None and found.mend.startswith("Restore ")


def test_g5_live_key_that_is_nowhere_else_is_kept_beside_a_damaged_certificate(site: Site) -> None:
    """Links to an older version would take the place of a key that no other file has."""
    copied(site)
    key = make_pem()
    (live(site) / "privkey.pem").write_bytes(key)
    (live(site) / "cert.pem").write_bytes(b"")
    found = broken(str(site.config), site.name)
    assert found is not None
    mend(found.mend)
    assert key in {path.read_bytes() for path in site.config.rglob("privkey*.pem")}


@pytest.mark.parametrize("part", ["cert", "chain", "fullchain"])
def test_g5_live_key_that_is_nowhere_else_is_kept_beside_a_missing_file(
    site: Site, part: str
) -> None:
    """Links to an older version leave the key beside them."""
    copied(site)
    key = make_pem()
    (live(site) / "privkey.pem").write_bytes(key)
    (live(site) / f"{part}.pem").unlink()
    found = broken(str(site.config), site.name)
    assert found is not None
    mend(found.mend)
    assert key in {path.read_bytes() for path in site.config.rglob("privkey*.pem*")}
    assert broken(str(site.config), site.name) is None


def test_archive_that_check_may_not_list_is_no_failure(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with live/ is told to other users, too."""
    without_live(site)

    def listdir(path: str) -> list[str]:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "listdir", listdir)
    found = broken(str(site.config), site.name)
    assert found is not None and found.skipped and found.mend.startswith("Restore ")


def test_unreadable_renewal_file_is_told(site: Site) -> None:
    """It is damaged, or a folder."""
    site.renewal.write_text("[[]")
    found = broken(str(site.config), site.name)
    assert found is not None and found.skipped and str(site.renewal) in found.why
    os.unlink(site.renewal)
    site.renewal.mkdir()
    assert broken(str(site.config), site.name) is not None


def test_renamed_lineage_whose_archive_dir_was_forgotten_is_mended(tmp_path: Path) -> None:
    """Check names what certbot accepts, though no keyring has a certificate of that name; it joins then."""
    server = Server(tmp_path)
    server.pinned()
    for part in ("live", "archive"):
        (server.config / part / "a.test").rename(server.config / part / "shop")
    conf = server.renewal().rename(server.renewal().with_name("shop.conf"))
    conf.write_text(conf.read_text().replace("/a.test/", "/shop/"))
    told = [
        line for line in server.run("certbot-pinkeep check").out.splitlines() if ": shop: " in line
    ]
    assert (
        len(told) == 1 and told[0].startswith("CRITICAL: ") and "archive/a.test, which" in told[0]
    )
    subprocess.run(["sh", "-c", told[0].partition("Run: ")[2]], check=True)
    assert server.run("certbot renew --force-renewal").code == 0
    assert f"archive_dir = {server.config}/archive/shop\n" in conf.read_text()
    assert "Lineages:  shop\n" in server.run("certbot-pinkeep status").out
