"""Certbot's renewal files: read, and written only as far as is ours (G9)."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import Site, mode_of, tree

from certbot_pinkeep.adapters import renewal_conf
from certbot_pinkeep.adapters.renewal_conf import Renewal
from certbot_pinkeep.core.errors import PinkeepError


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A lineage with a renewal file as certbot writes it."""
    found = Site(tmp_path)
    with found.renewal.open("a") as file:
        file.write(
            "# a comment\nserver = https://acme.example/dir\nmust_staple = True\n"
            'renew_hook = "a %d, b"\npinkeep_report_uri = "https://r.example/%41#x,y"\n'
            "[[webroot_map]]\nexample.com = /var/www\n"
        )
    return found


def load(site: Site) -> Renewal:
    """The lineage's renewal file."""
    found = renewal_conf.load(str(site.config), site.name)
    assert found is not None
    return found


def test_renewal_file_is_read(site: Site) -> None:
    """What the deploy hook needs, with commas and % as they were given."""
    found = load(site)
    live = site.config / "live" / site.name
    assert (found.cert_path, found.key_path) == (str(live / "cert.pem"), str(live / "privkey.pem"))
    assert (found.installer, found.reuse_key, found.must_staple) == (None, False, True)
    assert found.deploy_hook == "a %d, b"
    assert found.options == {"report-uri": "https://r.example/%41#x,y"}


def test_missing_renewal_file_is_none_and_a_broken_one_an_error(site: Site) -> None:
    """The error names the file."""
    assert renewal_conf.load(str(site.config), "nobody") is None
    for content in ("[renewalparams", "cert = x\n", "[renewalparams]\n"):
        site.renewal.write_text(content)
        with pytest.raises(PinkeepError, match=r"example\.com\.conf"):
            renewal_conf.load(str(site.config), site.name)


def test_remember_notes_installer_key_and_options(site: Site) -> None:
    """The next plain renewal is ours, keeps the key, and knows the options."""
    options: dict[str, object] = {
        "max-age": "60",
        "report-uri": "http://r.example/%,#'",
        "keyring": None,
    }
    renewal_conf.remember(str(site.config), site.name, "pinkeep", options)
    found = load(site)
    assert (found.installer, found.reuse_key) == ("pinkeep", True)
    assert found.options == {"max-age": "60", "report-uri": "http://r.example/%,#'"}


def test_g9_remember_leaves_everything_else(site: Site) -> None:
    """Other lines, comments, the order and the mode stay; no other file is touched."""
    site.renewal.chmod(0o640)
    before, lines = tree(site.config), site.renewal.read_text().splitlines()
    renewal_conf.remember(str(site.config), site.name, "pinkeep", {"max-age": "60"})
    after = tree(site.config)
    changed = [path for path in after if after[path] != before.get(path)]
    assert changed == [str(site.renewal)] and mode_of(site.renewal) == 0o640
    left = [line for line in lines if "installer" not in line and "_uri" not in line]
    now = site.renewal.read_text().splitlines()
    kept = [line for line in now if line in left]
    assert [" ".join(line.split()) for line in kept] == left


def test_remember_twice_writes_once(site: Site) -> None:
    """What is noted already is not written again."""
    for _ in range(2):
        renewal_conf.remember(
            str(site.config), site.name, "pinkeep", {"report-uri": "http://a.b/,"}
        )
        before = tree(site.config)
    renewal_conf.remember(str(site.config), site.name, "pinkeep", {"report-uri": "http://a.b/,"})
    assert tree(site.config) == before


def test_g9_file_that_is_not_certbots_is_not_written(site: Site) -> None:
    """A file without certbot's section is left as it is."""
    site.renewal.write_text("cert = x\n")
    with pytest.raises(PinkeepError):
        renewal_conf.remember(str(site.config), site.name, "pinkeep", {})
    assert site.renewal.read_text() == "cert = x\n"
