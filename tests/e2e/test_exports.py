"""Every export, judged by something that is not ours."""

from __future__ import annotations

import json
import plistlib
import re
from pathlib import Path

import pytest

from e2e.reasons import COMMAND
from e2e.world import NAME, Pinned, key_pin, keys, pins_in_header
from lab import Wget2
from lab.judges import curl_accepts, dane_accepts, danetool_record, is_valid
from lab.nginx import Nginx
from lab.processes import program, run

pytestmark = COMMAND

SCHEMA = Path(__file__).with_name("android.rng")
NOBODYS = "sha256//" + "A" * 43 + "="


def test_header_is_what_apache_sends_and_wget2_notes(pinned: Pinned, regular: Wget2) -> None:
    """To the byte; and the visitor holds the same pins."""
    (sent,) = pinned.server.get(NAME).pins
    assert pinned.export("header") == f"Public-Key-Pins: {sent}\n"
    assert regular.visit(pinned.url).accepted
    assert sorted(regular.noted(NAME)) == sorted(pins_in_header(sent))
    assert [one["pin"] for one in json.loads(pinned.export("json"))["pins"]] == pinned.pins


def test_nginx_sends_the_header_and_wget2_holds_to_it(
    pinned: Pinned, regular: Wget2, tmp_path: Path
) -> None:
    """Once, over TLS, whatever the server and the location do; not over plain HTTP. A client that noted it
    there refuses another key."""
    snippet = tmp_path / "pins.conf"
    pinned.bot.pinkeep("export", NAME, "--format", "nginx", "-o", str(snippet)).check()
    with Nginx(tmp_path / "nginx", NAME, pinned.bot.live(NAME), snippet) as nginx:
        expected = pinned.server.get(NAME).pins
        # A page, an error, a location with headers of its own and a fallback, a redirect, no request.
        asked = {"/": 200, "/missing": 404, "/app/x": 200, "/moved": 302, "/%": 400}
        for path, status in asked.items():
            assert (nginx.get(path).status, nginx.get(path).pins) == (status, expected)
            assert (nginx.get_plain(path).status, nginx.get_plain(path).pins) == (status, [])
        assert nginx.get("/app/x").all("X-Own") == ["yes"]
        # The host as clients write it, and others that the same block answers for.
        for host in (NAME.upper(), f"{NAME}:{nginx.https_port}", f"{NAME}.", f"{NAME}.:1"):
            assert nginx.get(host=host).pins == expected, host
        for host in ("other.test", f"x.{NAME}", f"{NAME}.other.test", f"x{NAME}", "[::1]"):
            assert nginx.get(host=host).pins == [], host
        assert (nginx.get_redirect().status, nginx.get_redirect().pins) == (301, expected)
        mistaken = nginx.get_plain(port=nginx.https_port)
        assert (mistaken.status, mistaken.pins) == (400, [])
        assert regular.visit(nginx.url).accepted
        assert regular.noted(NAME) and set(regular.noted(NAME)) == set(pinned.pins)
    assert "uninitialized" not in (tmp_path / "nginx" / "error.log").read_text()
    pinned.bot.renew_without_plugin("--no-reuse-key").check()
    with Nginx(tmp_path / "nginx-2", NAME, pinned.bot.live(NAME), snippet) as nginx:
        assert regular.visit(nginx.url).mismatch


def test_nginx_itself_finds_fault_with_another_snippet(pinned: Pinned, tmp_path: Path) -> None:
    """Its test of the configuration is no formality: a variable of another keyring is none."""
    snippet, text = tmp_path / "pins.conf", pinned.export("nginx")
    other = re.sub(r"(?m)^(map .*\$)(pinkeep_pins_)", r"\1x\2", text)
    for number, content in enumerate((text, other)):
        snippet.write_text(content)
        nginx = Nginx(tmp_path / f"nginx-{number}", NAME, pinned.bot.live(NAME), snippet)
        assert (nginx.configtest().returncode == 0) == (content == text)


@pytest.mark.parametrize(("length", "fits"), [(4094, True), (4095, False)])
def test_nginx_reads_the_longest_header_that_is_exported(
    pinned: Pinned, tmp_path: Path, length: int, fits: bool
) -> None:
    """One that is a byte longer is refused, by both."""
    (sent,) = pinned.server.get(NAME).pins
    uri = "https://r.example/".ljust(length - len(sent) - len('; report-uri=""'), "x")
    with pinned.server.reloading():
        pinned.bot.renew("--pinkeep-report-uri", uri).check()
    (sent,) = pinned.server.get(NAME).pins
    assert len(sent) == length
    told = pinned.bot.pinkeep("export", NAME, "--format", "nginx")
    assert told.returncode == (0 if fits else 1)
    snippet = tmp_path / "pins.conf"
    snippet.write_text(told.stdout or f"map $https $pins {{\n    on '{sent}';\n}}\n")
    nginx = Nginx(tmp_path / "nginx", NAME, pinned.bot.live(NAME), snippet)
    assert (nginx.configtest().returncode == 0) == fits


def test_report_only_goes_through_nginx_as_such(site: Pinned, tmp_path: Path) -> None:
    """With its URI, quoted as nginx needs it."""
    site.adopt("--pinkeep-report-only", "--pinkeep-report-uri=https://r.example/?a='b;c'&d=%5C")
    snippet = tmp_path / "pins.conf"
    snippet.write_text(site.export("nginx"))
    with Nginx(tmp_path / "nginx", NAME, site.bot.live(NAME), snippet) as nginx:
        assert nginx.get().pins == []
        assert nginx.get().pins_report_only == site.server.get(NAME).pins_report_only != []


def test_curl_accepts_each_key_of_its_export_and_no_other(pinned: Pinned, quick_root: Path) -> None:
    """The key of today, the next one after a rollover; a pin of nobody's is refused."""
    port, value = pinned.server.https_port, pinned.export("curl").strip()
    for _ in range(2):
        assert curl_accepts(NAME, port, quick_root, value)
        others = ";".join(one for one in value.split(";") if pinned.live_pin not in one)
        assert not curl_accepts(NAME, port, quick_root, others)
        assert not curl_accepts(NAME, port, quick_root, NOBODYS)
        pinned.rollover_now()


def test_g2_what_the_running_apache_would_be_refused_by_is_not_exported(
    site: Pinned, quick_root: Path
) -> None:
    """Before the admin has reloaded it after a rollover: the old key, served still, has left the pins."""
    port = site.server.https_port

    def accepted() -> bool:
        return curl_accepts(NAME, port, quick_root, site.export("curl").strip())

    site.bot.renew(*site.options, "--pinkeep-reload-command=").check()
    assert accepted()  # nothing was pinned before
    site.server.reload()
    site.confirm()
    old = site.live_pin
    site.rollover("--now").check()
    assert site.server.served_pin(NAME) == old != site.live_pin
    for form in ("curl", "tlsa", "ios"):
        refused = site.bot.pinkeep("export", NAME, "--format", form)
        assert refused.returncode == 1 and not refused.stdout
        assert old in refused.stderr and f"certbot-pinkeep confirm {NAME}" in refused.stderr
    site.server.reload()
    site.confirm()
    assert old not in site.export("curl") and accepted()


def test_tlsa_records_hold_before_and_after_a_rollover(pinned: Pinned) -> None:
    """openssl accepts the site by the record of its key alone, and refuses it by the others."""
    port = pinned.server.https_port
    records = pinned.export("tlsa", "--port", str(port)).splitlines()
    assert len(records) == len(pinned.pins) == 3
    for place in (0, 1):
        assert dane_accepts(NAME, port, records)
        alone = [dane_accepts(NAME, port, [record]) for record in records]
        assert alone == [number == place for number in range(3)]
        pinned.rollover_now()


def test_danetool_makes_the_same_records(pinned: Pinned, tmp_path: Path) -> None:
    """For each key: that of today, and the next ones."""
    port, public = pinned.server.https_port, tmp_path / "public.pem"
    records = pinned.export("tlsa", "--port", str(port)).splitlines()
    made = {}
    for path in keys(pinned.bot).values():
        run([program("openssl"), "pkey", "-in", str(path), "-pubout", "-out", str(public)]).check()
        made[key_pin(path)] = danetool_record(NAME, port, public)
    assert made == {pin: pin for pin in made} and set(made) == set(pinned.pins)
    assert len(set(records)) == 3 and all(f"_{port}._tcp.{NAME}. IN" in one for one in records)


def test_ios_is_a_property_list_with_apples_keys(family: Pinned) -> None:
    """A dictionary for each domain; plutil's stand-in is Python's own plistlib."""
    content = plistlib.loads(family.export("ios").encode())
    domains = content.pop("NSAppTransportSecurity").pop("NSPinnedDomains")
    assert content == {} and NAME in domains
    for entry in domains.values():
        assert entry.pop("NSIncludesSubdomains") is True
        identities = entry.pop("NSPinnedLeafIdentities")
        assert [one.pop("SPKI-SHA256-BASE64") for one in identities] == family.pins
        assert entry == {} and not any(identities)


@pytest.mark.parametrize("more", [(), ("--expires", "2040-01-31"), ("--expires", "never")])
def test_android_is_valid_by_its_schema(
    family: Pinned, tmp_path: Path, more: tuple[str, ...]
) -> None:
    """With and without an expiration."""
    path = tmp_path / "network_security_config.xml"
    path.write_text(family.export("android", *more))
    assert is_valid(path, SCHEMA)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('digest="SHA-256"', 'digest="SHA-1"'),
        (f">{NAME}<", f">*.{NAME}<"),
        ("includeSubdomains=", "includesSubdomains="),
        ('expiration="20', 'expiration="x20'),
        ("=</pin>", "</pin>"),
    ],
)
def test_schema_refuses_what_android_would(
    pinned: Pinned, tmp_path: Path, old: str, new: str
) -> None:
    """So that its yes means something."""
    text, path = pinned.export("android"), tmp_path / "config.xml"
    assert old in text
    path.write_text(text.replace(old, new, 1))
    assert not is_valid(path, SCHEMA)
