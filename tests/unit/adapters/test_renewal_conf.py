"""Certbot's renewal files: read, and written only as far as is ours (G9)."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_pinkeep.adapters import renewal_conf
from certbot_pinkeep.adapters.renewal_conf import Renewal
from certbot_pinkeep.core.errors import PinkeepError
from simulated.machine import Site
from simulated.values import mode_of, tree


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


def test_remember_notes_installer_and_key(site: Site) -> None:
    """The next plain renewal is ours, and keeps the key."""
    renewal_conf.remember(str(site.config), site.name, "pinkeep")
    found = load(site)
    assert (found.installer, found.reuse_key, found.options) == ("pinkeep", True, {})


#: Files as certbot, pinkeep 0.1 and people leave them, with the lines that are pinkeep's.
FILES = {
    "as 0.1 left it": ["pinkeep_max_age = 60", 'pinkeep_report_uri = "https://r.example/%41#x,y"'],
    "written by hand": ["  pinkeep_max_age=60   # a week", "pinkeep_reload_command = 'a b', c"],
    "without any": [],
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_g9_every_other_byte_of_a_renewal_file_stays(site: Site, name: str, end: str) -> None:
    """Certbot's lines, comments, sections and the mode stay; pinkeep's two lines are changed or added."""
    lines = [
        "# pinkeep_x = 1",
        "version = 2.1.0",
        "pinkeep_y = 2",
        "",
        "[renewalparams]",
        "\tserver=a",
    ]
    more = ["installer  =  None", *FILES[name], "# the end", "[[webroot_map]]", "pinkeep_z = 3"]
    site.renewal.write_bytes("".join(line + end for line in (*lines, *more)).encode())
    site.renewal.chmod(0o640)
    renewal_conf.remember(str(site.config), site.name, "pinkeep")
    lines.insert(5, "reuse_key = True")
    more = ["installer  = pinkeep", "# the end", "[[webroot_map]]", "pinkeep_z = 3"]
    assert site.renewal.read_bytes() == "".join(line + end for line in (*lines, *more)).encode()
    assert mode_of(site.renewal) == 0o640
    before = tree(site.config)
    renewal_conf.remember(str(site.config), site.name, "pinkeep")
    assert tree(site.config) == before, "what is noted already is written again"


def test_values_over_several_lines_are_taken_out_whole(site: Site) -> None:
    """Not their first line alone."""
    text = site.renewal.read_text().replace(
        "[renewalparams]\n", '[renewalparams]\npinkeep_reload_command = """a\nserver = b"""\n'
    )
    site.renewal.write_text(text)
    assert load(site).options["reload-command"] == "a\nserver = b"
    renewal_conf.take_out(str(site.config), site.name)
    assert load(site).options == {}
    assert "server = https://acme.example/dir" in site.renewal.read_text()


def test_only_what_cannot_be_used_is_taken_out(site: Site) -> None:
    """The rest is taken over later."""
    text = site.renewal.read_text()
    site.renewal.write_text(text.replace("must_staple", "pinkeep_max_age = soon\nmust_staple"))
    renewal_conf.take_out(str(site.config), site.name, ["max-age"])
    assert site.renewal.read_text() == text


def test_g9_file_that_is_not_certbots_is_not_written(site: Site) -> None:
    """A file without certbot's section is left as it is."""
    site.renewal.write_text("cert = x\n")
    with pytest.raises(PinkeepError):
        renewal_conf.remember(str(site.config), site.name, "pinkeep")
    assert site.renewal.read_text() == "cert = x\n"
