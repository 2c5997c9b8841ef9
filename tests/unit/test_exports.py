"""Pins in the forms that other consumers take, and what those would refuse."""

from __future__ import annotations

import base64
import json
import plistlib
import re
import xml.etree.ElementTree as ET
from datetime import date
from importlib import metadata
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import DAY, NOW, SIXTY_DAYS, A, B, C, fake_pin, policy
from hypothesis import given
from hypothesis import strategies as st
from machine import Machine
from zope.interface import implementer

from certbot_pinkeep import apache, command, exports, moments, pins, wishes
from certbot_pinkeep.errors import BadExport
from certbot_pinkeep.exports import IExport, Pin, Pinned, Settings
from certbot_pinkeep.keyring import Role

SITE = "pin.test"
OURS = ["android", "curl", "header", "ios", "json", "nginx", "okhttp", "tlsa", "trustkit"]
APPS = ["android", "ios", "okhttp", "trustkit"]


def pinned(
    *listed: str,
    hosts: tuple[str, ...] = (SITE,),
    role: Role = "backup",
    subdomains: bool = False,
    max_age: int = SIXTY_DAYS,
    report_uri: str | None = None,
) -> Pinned:
    """What a keyring publishes: the first key is served."""
    found = policy(*listed, include_subdomains=subdomains, max_age=max_age, report_uri=report_uri)
    known = [
        Pin(pin, "ecdsa", role if number else "in-service") for number, pin in enumerate(listed)
    ]
    return Pinned("ring", hosts, found, tuple(known), NOW)


def read_back(name: str, text: str) -> list[str]:
    """The pins of an export, in its order, by other means than it was written."""
    if name in ("header", "nginx"):
        return re.findall(r'pin-sha256="([^"]+)"', text)
    if name == "json":
        return [one["pin"] for one in json.loads(text)["pins"]]
    if name == "curl":
        return [one.removeprefix("sha256//") for one in text.strip().split(";")]
    if name == "android":
        return [one.text or "" for one in ET.fromstring(text.encode()).iter("pin")]
    if name == "okhttp":
        return re.findall(r'"sha256/([^"]+)"', text)
    if name == "tlsa":
        digests = [line.split()[-1] for line in text.splitlines()]
        return [base64.b64encode(bytes.fromhex(one)).decode() for one in digests]
    content = plistlib.loads(text.encode())
    if name == "ios":
        (entry,) = content["NSAppTransportSecurity"]["NSPinnedDomains"].values()
        return [one["SPKI-SHA256-BASE64"] for one in entry["NSPinnedLeafIdentities"]]
    (entry,) = content["TSKConfiguration"]["TSKPinnedDomains"].values()
    found = entry["TSKPublicKeyHashes"]
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("name", OURS)
@given(seeds=st.lists(st.integers(), min_size=2, max_size=12, unique=True))
def test_every_form_lists_exactly_the_pins_of_the_policy(name: str, seeds: list[int]) -> None:
    """In its order, each once."""
    listed = [fake_pin(seed) for seed in seeds]
    assert read_back(name, exports.render(name, pinned(*listed), Settings())) == listed


def test_ours_are_those_of_the_contract() -> None:
    """Each provides the interface, or it could not be loaded."""
    assert exports.names() == OURS
    assert all(exports.load(name).told for name in OURS)


# The forms


def test_header_is_the_one_that_apache_sends() -> None:
    """To the byte."""
    one = pinned(A, B, subdomains=True, report_uri="https://report.example/")
    text = exports.render("header", one, Settings())
    name, _, value = text.strip().partition(": ")
    assert name == "Public-Key-Pins" and value == one.policy.header_value
    assert pins.read_header(value).pins == (A, B)


def test_ios_has_apples_keys() -> None:
    """And says of each domain whether its subdomains are pinned."""
    text = exports.render("ios", pinned(A, B, hosts=("a.test", "b.test", "*.b.test")), Settings())
    domains = plistlib.loads(text.encode())["NSAppTransportSecurity"]["NSPinnedDomains"]
    assert {name: entry["NSIncludesSubdomains"] for name, entry in domains.items()} == {
        "a.test": False,
        "b.test": True,
    }
    assert set(domains["a.test"]) == {"NSIncludesSubdomains", "NSPinnedLeafIdentities"}


def test_trustkit_reports_to_nobody_but_the_admin() -> None:
    """Its default place for reports is not ours to choose."""
    settings = Settings(expires=date(2027, 1, 2))
    text = exports.render("trustkit", pinned(A, B, report_uri="https://r.example/"), settings)
    entry = plistlib.loads(text.encode())["TSKConfiguration"]["TSKPinnedDomains"][SITE]
    assert entry["TSKDisableDefaultReportUri"] is True
    assert entry["TSKReportUris"] == ["https://r.example/"]
    assert (entry["TSKEnforcePinning"], entry["TSKExpirationDate"]) == (True, "2027-01-02")


@pytest.mark.parametrize("expires", [None, date(2027, 1, 2)])
def test_android_expires_when_it_is_told_to(expires: date | None) -> None:
    """Without a date, never."""
    text = exports.render("android", pinned(A, B), Settings(expires=expires))
    (found,) = ET.fromstring(text.encode()).iter("pin-set")
    assert found.get("expiration") == (expires.isoformat() if expires else None)


def test_okhttp_takes_wildcards_as_they_are() -> None:
    """Two stars for subdomains of any depth."""
    one = pinned(A, B, hosts=("a.test", "*.b.test"), subdomains=True)
    patterns = re.findall(r'\.add\(\s+"([^"]+)"', exports.render("okhttp", one, Settings()))
    assert patterns == ["a.test", "*.b.test", "**.a.test", "**.b.test"]


def test_tlsa_names_each_host_and_port() -> None:
    """The digest in hexadecimal, for keys of today and of tomorrow."""
    settings = Settings(ports=("443/tcp", "853/udp"))
    lines = exports.render("tlsa", pinned(A, B, hosts=("a.test", "b.test")), settings).splitlines()
    assert len(lines) == 8
    assert lines[0] == f"_443._tcp.a.test. IN TLSA 3 1 1 {base64.b64decode(A).hex()}"
    assert lines[-1] == f"_853._udp.b.test. IN TLSA 3 1 1 {base64.b64decode(B).hex()}"


# What consumers would refuse


@pytest.mark.parametrize("name", [*APPS, "tlsa"])
@pytest.mark.parametrize(
    ("one", "words"),
    [
        (pinned(A, B, role="compromised"), "compromised key"),
        (pinned(A, B, max_age=0), "leaves pinning"),
        (pinned(A, B, hosts=("192.0.2.1",)), "names only, not 192.0.2.1"),
        (pinned(A, B, hosts=("2001:db8::1",)), "names only, not 2001:db8::1"),
        (pinned(A, B, hosts=()), "has no host"),
    ],
)
def test_g10_apps_and_zones_are_not_given_such_pins(name: str, one: Pinned, words: str) -> None:
    """They would keep them for long."""
    with pytest.raises(BadExport, match=words):
        exports.render(name, one, Settings())


@pytest.mark.parametrize("name", ["ios", "android", "trustkit", "tlsa"])
def test_g10_wildcard_where_the_consumer_has_none(name: str) -> None:
    """It would say more than the certificate, or nothing."""
    with pytest.raises(BadExport, match=r"wildcard"):
        exports.render(name, pinned(A, B, hosts=(f"*.{SITE}",)), Settings())


def test_g10_nginx_cannot_say_every_uri() -> None:
    """A dollar sign is a variable there."""
    with pytest.raises(BadExport, match=r"--pinkeep-report-uri"):
        exports.render("nginx", pinned(A, B, report_uri="https://r.example/$x"), Settings())


def test_g4_one_pin_is_no_policy() -> None:
    """So it cannot be exported either."""
    with pytest.raises(Exception, match="at least two pins"):
        pinned(A)


# Forms of others


@implementer(IExport)
class Theirs:
    """A form that another package brings."""

    told = "theirs"

    def render(self, pinned: Pinned, settings: Settings) -> str:
        """Its text."""
        return f"theirs {pinned.name}\n"


class Lacking:
    """It says that it is one, and has no render."""


class Raising(Theirs):
    """It fails."""

    def render(self, pinned: Pinned, settings: Settings) -> str:
        """Never."""
        raise ZeroDivisionError("by zero\nin two lines")


class Silent(Theirs):
    """It gives no text."""

    def render(self, pinned: Pinned, settings: Settings) -> str:
        """Nothing."""
        return None  # type: ignore[return-value]


implementer(IExport)(Lacking)
theirs, lacking, raising, silent, plain = (
    Theirs(),
    Lacking(),
    Raising(),
    Silent(),
    SimpleNamespace(),
)


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entry points of other packages, beside ours."""
    found = list(metadata.entry_points(group=exports.GROUP))
    for name in ("theirs", "lacking", "raising", "silent", "plain", "absent"):
        found.insert(0, EntryPoint(name, f"{__name__}:{name}", exports.GROUP))
    found.insert(0, EntryPoint("gone", "no_such_module:x", exports.GROUP))
    found.insert(0, EntryPoint("curl", f"{__name__}:theirs", exports.GROUP))
    monkeypatch.setattr(metadata, "entry_points", lambda group: EntryPoints(found))


def test_form_of_another_package_is_used(others: None) -> None:
    """And cannot take the place of one of ours."""
    assert exports.render("theirs", pinned(A, B), Settings()) == "theirs ring\n"
    assert exports.render("curl", pinned(A, B), Settings()).startswith("sha256//")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lacking", "does not provide IExport"),
        ("plain", "does not provide IExport"),
        ("absent", "cannot be loaded"),
        ("gone", "cannot be loaded .*no_such_module"),
        ("raising", r"failed \(ZeroDivisionError: by zero in two lines\)"),
        ("silent", "gave no text"),
        ("unheard-of", "there is no such format. Formats: absent, android"),
    ],
)
def test_g10_broken_form_is_named(others: None, name: str, words: str) -> None:
    """In a sentence, with where it comes from."""
    with pytest.raises(BadExport, match=words) as caught:
        exports.render(name, pinned(A, B), Settings())
    assert f"--format {name!r}" in str(caught.value)


# The command


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A pinned lineage with two backups."""
    monkeypatch.setattr(moments, "now", lambda: NOW)
    found = Machine(tmp_path)
    found.issue(SITE)
    found.keep(SITE, SITE)
    return found


def run(machine: Machine, *words: str) -> int:
    """Run the command on the machine."""
    dirs = ["--config-dir", str(machine.config), "--work-dir", str(machine.work)]
    return command.main(["export", SITE, *words, *dirs])


@pytest.mark.parametrize("name", OURS)
def test_command_exports_what_is_published(
    machine: Machine, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Printed, and the same into a file."""
    assert run(machine, "--format", name) == 0
    printed = capsys.readouterr().out
    assert read_back(name, printed) == list(machine.published(SITE).pins)
    out = tmp_path / "out"
    assert run(machine, "--format", name, "-o", str(out)) == 0
    assert out.read_text() == printed and out.stat().st_mode & 0o777 == 0o644
    assert f"release {SITE} add" in capsys.readouterr().out


def test_g7_no_export_has_a_private_key(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor a path to one."""
    for name in OURS:
        assert run(machine, "--format", name) == 0
        text = capsys.readouterr().out
        assert "PRIVATE" not in text and "keys/" not in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--format", "json", "--host", "other.test"), "--host 'other.test'"),
        (("--format", "tlsa", "--port", "https"), "--port 'https'"),
        (("--format", "tlsa", "--port", "70000"), "--port '70000'"),
        (("--format", "tlsa", "--port", "443/x"), "--port '443/x'"),
        (("--format", "android", "--expires", "soon"), "--expires 'soon'"),
        (("--format", "android", "--expires", "2026-03-01"), "that is over"),
        (("--format", "pdf"), "there is no such format"),
        (("--format", "ios", "-o", "/no/such/folder/x"), "-o '/no/such/folder/x'"),
    ],
)
def test_g10_command_refuses_with_one_line(
    machine: Machine, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    """Exit code 1, and nothing printed."""
    assert run(machine, *words) == 1
    printed = capsys.readouterr()
    assert told in printed.err and printed.err.count("\n") == 1 and printed.out == ""


def test_host_can_be_named(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """One of the keyring's; with includeSubDomains, one below."""
    assert run(machine, "--format", "tlsa", "--host", SITE.upper(), "--port", "25/tcp") == 0
    assert capsys.readouterr().out.startswith(f"_25._tcp.{SITE}. IN TLSA")
    machine.keep(SITE, SITE, NOW + DAY, pinned=True, include_subdomains=True)
    assert run(machine, "--format", "tlsa", "--host", f"mx.{SITE}", "--port", "25") == 0


def test_android_stops_after_a_year_where_nothing_else_is_said(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """An app that nobody updates is not locked out for ever."""
    assert run(machine, "--format", "android") == 0
    assert 'expiration="2027-03-01"' in capsys.readouterr().out
    assert run(machine, "--format", "android", "--expires", "never") == 0
    assert "expiration" not in capsys.readouterr().out


def test_unpinned_keyring_exports_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is no header any more."""
    wishes.unpin(machine.keeper, SITE, NOW)
    machine.keep(SITE, SITE, NOW, pinned=True)
    assert run(machine, "--format", "header") == 0
    assert "max-age=0" in capsys.readouterr().out
    monkeypatch.setattr(moments, "now", lambda: NOW + 61 * DAY)
    assert run(machine, "--format", "header") == 1
    assert "publishes no pins" in capsys.readouterr().err


def test_export_is_what_apache_sends(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """The snippet has the same header."""
    assert run(machine, "--format", "header") == 0
    found = apache.read_policy(machine.snippet(SITE).read_text())
    assert (
        found is not None and capsys.readouterr().out == f"Public-Key-Pins: {found.header_value}\n"
    )
    assert C not in found.pins
