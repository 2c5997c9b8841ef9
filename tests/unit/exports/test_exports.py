"""Pins in the forms that other consumers take, and what those would refuse."""

from __future__ import annotations

import base64
import io
import json
import os
import plistlib
import re
import stat
import sys
import xml.etree.ElementTree as ET
from datetime import date
from importlib import metadata
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zope.interface import implementer

from certbot_pinkeep import exports
from certbot_pinkeep.adapters import clock
from certbot_pinkeep.carriers import apache
from certbot_pinkeep.cli import main
from certbot_pinkeep.core.errors import BadExport
from certbot_pinkeep.core.header import read_header
from certbot_pinkeep.core.keyring import Role
from certbot_pinkeep.core.kinds import KeyKind
from certbot_pinkeep.exports import IExport
from certbot_pinkeep.exports import hosts as export_hosts
from certbot_pinkeep.exports.values import Pin, Pinned, Settings
from certbot_pinkeep.workflow import requests
from simulated.machine import Machine
from simulated.values import DAY, EC, NOW, SIXTY_DAYS, A, B, C, fake_pin, policy, tree

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
    report_only: bool = False,
    name: str = "ring",
    kind: KeyKind = EC,
    still_served: tuple[str, ...] = (),
    leaving: bool = False,
) -> Pinned:
    """What a keyring publishes: the first key is served."""
    found = policy(
        *listed,
        include_subdomains=subdomains,
        max_age=max_age,
        report_uri=report_uri,
        report_only=report_only,
    )
    known = [Pin(pin, kind, role if number else "in-service") for number, pin in enumerate(listed)]
    return Pinned(name, hosts, found, tuple(known), NOW, still_served, leaving)


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


@settings(max_examples=30)
@given(seeds=st.lists(st.integers(), min_size=2, max_size=12, unique=True))
def test_every_form_lists_exactly_the_pins_of_the_policy(seeds: list[int]) -> None:
    """In its order, each once."""
    listed = [fake_pin(seed) for seed in seeds]
    for name in OURS:
        assert read_back(name, exports.render(name, pinned(*listed), Settings())) == listed


def test_ours_are_those_of_the_contract() -> None:
    """Each provides the interface, or it could not be loaded."""
    assert exports.names() == OURS
    assert all(exports.load(name) for name in OURS)


# The forms


def test_header_is_the_one_that_apache_sends() -> None:
    """To the byte."""
    one = pinned(A, B, subdomains=True, report_uri="https://report.example/")
    text = exports.render("header", one, Settings())
    name, _, value = text.strip().partition(": ")
    assert name == "Public-Key-Pins" and value == one.policy.header_value
    assert read_header(value).pins == (A, B)


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


def test_g2_okhttp_pins_a_domain_only_if_it_is_of_the_keyring() -> None:
    """Two stars are the domain itself and its subdomains of any depth; one star is one label."""
    one = pinned(A, B, hosts=("a.test", "*.b.test"), subdomains=True)
    patterns = re.findall(r'\.add\(\s+"([^"]+)"', exports.render("okhttp", one, Settings()))
    assert patterns == ["a.test", "*.b.test", "**.a.test"]


@pytest.mark.parametrize("name", ["android", "trustkit"])
def test_g2_wildcard_is_not_taken_for_subdomains_of_any_depth(name: str) -> None:
    """Those further down may have other keys, unless includeSubDomains is published."""
    hosts = ("a.test", "*.a.test")
    with pytest.raises(BadExport, match=r"--host.*--pinkeep-include-subdomains"):
        exports.render(name, pinned(A, B, hosts=hosts), Settings())
    text = exports.render(name, pinned(A, B, hosts=hosts, subdomains=True), Settings())
    assert "a.test<" in text and "*" not in text
    assert read_back(name, text) == [A, B]


def test_ios_takes_a_wildcard_for_one_label() -> None:
    """Which is what Apple means by subdomains."""
    text = exports.render("ios", pinned(A, B, hosts=("*.a.test", "a.test")), Settings())
    (entry,) = plistlib.loads(text.encode())["NSAppTransportSecurity"]["NSPinnedDomains"].values()
    assert entry["NSIncludesSubdomains"] is True


def test_nginx_has_a_variable_for_each_keyring() -> None:
    """One for report-only pins as well, so that no site sends them as others."""
    long = "www.customers-of-a.example.com"
    names = ["a.test", "a-test", "a_test", "A.test", "a.Test", "example.com", "9", long, f"{long}m"]
    texts = [exports.render("nginx", pinned(A, B, name=name), Settings()) for name in names]
    texts.append(exports.render("nginx", pinned(A, B, name="a.test", report_only=True), Settings()))
    found = [re.findall(r"^map \"\$https\S+\" \$(pinkeep_\w+) {$", text, re.M) for text in texts]
    variables = [one for (one,) in found]
    assert len(set(variables)) == len(texts)
    assert variables[0] == "pinkeep_pins_a_test"
    assert all(len(one) <= 46 for one in variables)  # else nginx does not start
    for text, variable in zip(texts, variables, strict=True):
        assert re.search(rf"^# +add_header Public-Key-Pins\S* \${variable} always;$", text, re.M)
    assert "add_header Public-Key-Pins-Report-Only $" in texts[-1]


def test_tlsa_names_each_host_and_port() -> None:
    """The digest in hexadecimal, for keys of today and of tomorrow."""
    settings = Settings(ports=("443/tcp", "853/udp"))
    lines = exports.render("tlsa", pinned(A, B, hosts=("a.test", "b.test")), settings).splitlines()
    assert len(lines) == 8
    assert lines[0] == f"_443._tcp.a.test. IN TLSA 3 1 1 {base64.b64decode(A).hex()}"
    assert lines[-1] == f"_853._udp.b.test. IN TLSA 3 1 1 {base64.b64decode(B).hex()}"


# What consumers would refuse


@pytest.mark.parametrize("name", [*APPS, "curl", "tlsa"])
def test_g2_pins_without_a_key_that_may_be_served_are_not_carried_by_others(name: str) -> None:
    """It would be locked out until Apache has loaded what is published."""
    with pytest.raises(BadExport, match=f"{re.escape(C)}.*certbot-pinkeep confirm ring"):
        exports.render(name, pinned(A, B, still_served=(C,)), Settings())


@pytest.mark.parametrize("name", ["header", "nginx", "json"])
def test_pins_that_are_not_loaded_yet_go_where_they_are_loaded_from(name: str) -> None:
    """JSON tells which keys may be served beside."""
    text = exports.render(name, pinned(A, B, still_served=(C,)), Settings())
    assert read_back(name, text) == [A, B]
    if name == "json":
        assert json.loads(text)["still_served"] == [C]


@pytest.mark.parametrize(
    ("kind", "known"),
    [
        (KeyKind("rsa", "2048"), True),
        (KeyKind("rsa", "4096"), True),
        (KeyKind("ecdsa", "secp384r1"), True),
        (KeyKind("rsa", "2432"), False),
        (KeyKind("ecdsa", "secp521r1"), False),
    ],
)
def test_g2_trustkit_is_given_no_key_that_it_does_not_know(kind: KeyKind, known: bool) -> None:
    """It would end the app."""
    one = pinned(A, B, kind=kind)
    if known:
        assert read_back("trustkit", exports.render("trustkit", one, Settings())) == [A, B]
    else:
        with pytest.raises(BadExport, match=f"{kind}.*{re.escape(A)}"):
            exports.render("trustkit", one, Settings())
    assert read_back("ios", exports.render("ios", one, Settings())) == [A, B]


@pytest.mark.parametrize("name", [*APPS, "tlsa"])
@pytest.mark.parametrize(
    ("one", "words"),
    [
        (pinned(A, B, role="compromised"), "compromised key"),
        (pinned(A, B, max_age=0, leaving=True), "leaves pinning"),
        (pinned(A, B, hosts=("192.0.2.1",)), "names only, not 192.0.2.1"),
        (pinned(A, B, hosts=("2001:db8::1",)), "names only, not 2001:db8::1"),
        (pinned(A, B, hosts=()), "has no host"),
    ],
)
def test_g10_apps_and_zones_are_not_given_such_pins(name: str, one: Pinned, words: str) -> None:
    """They would keep them for long."""
    with pytest.raises(BadExport, match=words):
        exports.render(name, one, Settings())


def test_g10_curl_is_given_no_compromised_key() -> None:
    """Its owner could stand in for the site."""
    with pytest.raises(BadExport, match="compromised key"):
        exports.render("curl", pinned(A, B, role="compromised"), Settings())


@pytest.mark.parametrize("name", [*APPS, "tlsa"])
def test_who_pins_in_apps_alone_need_not_have_a_header_that_binds(name: str) -> None:
    """--pinkeep-max-age 0 is no leaving."""
    assert exports.render(name, pinned(A, B, max_age=0), Settings())


@pytest.mark.parametrize("name", ["ios", "android", "trustkit", "tlsa"])
def test_g10_wildcard_if_the_consumer_has_none(name: str) -> None:
    """It would say more than the certificate, or nothing."""
    with pytest.raises(BadExport, match=r"wildcard"):
        exports.render(name, pinned(A, B, hosts=(f"*.{SITE}",)), Settings())


def test_g10_nginx_reads_no_longer_header() -> None:
    """It would not start; to the byte, end to end."""
    listed = [fake_pin(number) for number in range(70)]
    with pytest.raises(BadExport, match=r"--pinkeep-backup-keys"):
        exports.render("nginx", pinned(*listed), Settings())


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


class Leaving(Theirs):
    """It ends the program, as if all was well."""

    def render(self, pinned: Pinned, settings: Settings) -> str:
        """Never."""
        raise SystemExit(0)


class Halved(Theirs):
    """Its text has half a character."""

    def render(self, pinned: Pinned, settings: Settings) -> str:
        """What cannot be written."""
        return "\udc80"


class Foreign(Theirs):
    """It knows no settings, and its text is not in ASCII."""

    takes = ()

    def render(self, pinned: Pinned, settings: Settings) -> str:
        """A word."""
        return "Schlüssel\n"


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
leaving, halved, foreign = Leaving(), Halved(), Foreign()


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Entry points of other packages, beside ours."""
    found = list(metadata.entry_points(group=exports.GROUP))
    (tmp_path / "a_form_that_ends_it.py").write_text("raise SystemExit(0)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found.insert(0, EntryPoint("ending", "a_form_that_ends_it:x", exports.GROUP))
    named = ("theirs", "lacking", "raising", "silent", "plain", "absent")
    for name in (*named, "leaving", "halved", "foreign"):
        found.insert(0, EntryPoint(name, f"{__name__}:{name}", exports.GROUP))
    found.insert(0, EntryPoint("gone", "no_such_module:x", exports.GROUP))
    found.insert(0, EntryPoint("curl", f"{__name__}:theirs", exports.GROUP))
    known = {exports.GROUP: EntryPoints(found)}
    real = metadata.entry_points
    monkeypatch.setattr(
        metadata, "entry_points", lambda group: known.get(group) or real(group=group)
    )


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
        ("leaving", r"failed \(SystemExit: 0\)"),
        ("ending", r"cannot be loaded \(SystemExit: 0\)"),
        ("silent", "its answer is no text"),
        ("halved", "its answer is no text"),
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
    monkeypatch.setattr(clock, "now", lambda: NOW)
    found = Machine(tmp_path)
    found.issue(SITE)
    found.keep(SITE, SITE)
    return found


def run(machine: Machine, *words: str) -> int:
    """Run the command on the machine."""
    dirs = ["--config-dir", str(machine.config), "--work-dir", str(machine.work)]
    return main.main(["export", SITE, *words, *dirs])


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
        (("--format", "ios", "--port", "25"), "--port '25'"),
        (("--format", "ios", "--expires", "2027-01-01"), "--expires '2027-01-01'"),
        (("--format", "tlsa", "--expires", "never"), "--expires 'never'"),
        (("--format", "android", "--expires", "20271231"), "--expires '20271231'"),
        (("--format", "android", "--expires", "2027-W10-1"), "--expires '2027-W10-1'"),
        (("--format", "ios", "-o", ""), "-o ''"),
        (("--format", "ios", "-o", "/"), "-o '/'"),
        (("--format", "tlsa", "--port", "https"), "--port 'https'"),
        (("--format", "tlsa", "--port", "70000"), "--port '70000'"),
        (("--format", "tlsa", "--port", "443/x"), "--port '443/x'"),
        (("--format", "android", "--expires", "soon"), "--expires 'soon'"),
        (("--format", "android", "--expires", "2026-03-01"), "that day is over"),
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
    assert "Nothing was " in printed.err


@pytest.mark.parametrize(
    "host",
    ["x;y", "a b", "", 'q"r', "münchen", "-x", "x-", "a..b", "a" * 64, "a*", "x.*", "a_b"],
)
def test_g10_host_is_a_name(
    machine: Machine, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    """Also if includeSubDomains would cover it."""
    machine.keep(SITE, SITE, pinned=True, include_subdomains=True)
    written = f"{host}.{SITE}"
    assert run(machine, "--format", "tlsa", f"--host={written}") == 1
    printed = capsys.readouterr()
    assert f"--host {written!r}" in printed.err and printed.out == ""


def test_wildcard_that_is_named_alone_is_refused_for_what_it_is(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its domain is pinned as well, but was not named."""
    machine.issue("wild.test", hosts=("wild.test", "*.wild.test"))
    machine.keep("wild.test", SITE)
    assert run(machine, "--format", "ios", "--host", "*.wild.test") == 1
    assert "wild.test itself is not among the hosts of this export" in capsys.readouterr().err
    both = ("--host", "*.wild.test", "--host", "wild.test")
    assert run(machine, "--format", "ios", *both) == 0


def test_what_is_named_twice_is_exported_once(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """A zone must not have a record twice."""
    words = ("--host", SITE, "--host", f"{SITE}.", "--port", "25", "--port", "25/tcp")
    assert run(machine, "--format", "tlsa", *words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(set(lines)) == 3


def test_form_of_another_package_may_take_any_option(
    others: None, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless it says that it takes none."""
    words = ("--port", "25", "--expires", "never")
    assert run(machine, "--format", "theirs", *words) == 0
    assert capsys.readouterr().out == f"theirs {SITE}\n"
    assert run(machine, "--format", "foreign", *words) == 1
    assert "--port '25'" in capsys.readouterr().err


def test_export_is_utf8_whatever_the_terminal_takes(
    others: None, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is in a file."""
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="ascii"))
    assert run(machine, "--format", "foreign") == 0
    assert printed.getvalue().decode() == "Schlüssel\n"


def test_host_can_be_named(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """One of the keyring's; with includeSubDomains, one below."""
    assert run(machine, "--format", "tlsa", "--host", SITE.upper(), "--port", "25/tcp") == 0
    assert capsys.readouterr().out.startswith(f"_25._tcp.{SITE}. IN TLSA")
    machine.keep(SITE, SITE, NOW + DAY, pinned=True, include_subdomains=True)
    assert run(machine, "--format", "tlsa", "--host", f"mx.{SITE}", "--port", "25") == 0


def test_android_stops_after_a_year_if_nothing_else_is_said(
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
    requests.unpin(machine.workflow, SITE, NOW)
    machine.keep(SITE, SITE, NOW, pinned=True)
    assert run(machine, "--format", "header") == 0
    assert "max-age=0" in capsys.readouterr().out
    monkeypatch.setattr(clock, "now", lambda: NOW + 61 * DAY)
    assert run(machine, "--format", "header") == 1
    told = capsys.readouterr().err
    assert "publishes no pins" in told and f"certbot-pinkeep unpin {SITE} --undo" in told


TWO = ("a.example.test", "www.example.test")


@pytest.mark.parametrize(
    ("hosts", "subdomains", "written", "named"),
    [
        # a name of a certificate, however it is written
        (TWO, False, "a.example.test", "a.example.test"),
        (TWO, False, "A.Example.TEST.", "a.example.test"),
        (("xn--bcher-kva.test",), False, "XN--bcher-kva.test", "xn--bcher-kva.test"),
        (("2001:db8::1",), False, "2001:DB8::1", "2001:db8::1"),
        # a host that a wildcard stands for; a wildcard is one label
        (("*.example.test",), False, "b.example.test", "b.example.test"),
        (("*.example.test",), False, "*.example.test", "*.example.test"),
        (("*.example.test",), False, "c.b.example.test", None),
        (("*.example.test",), False, "example.test", None),
        (("*.example.test",), False, "*.b.example.test", None),
        # a wildcard of which only some hosts are pinned
        (TWO, False, "*.example.test", None),
        (TWO, True, "*.example.test", None),
        (("example.test",), False, "*.example.test", None),
        (("*.b.example.test",), True, "*.example.test", None),
        # what includeSubDomains covers
        (("example.test",), True, "*.example.test", "*.example.test"),
        (("example.test",), True, "*.b.example.test", "*.b.example.test"),
        (("example.test",), True, "c.b.example.test", "c.b.example.test"),
        (("*.example.test",), True, "*.b.example.test", "*.b.example.test"),
        (("*.example.test",), True, "example.test", None),
        (("example.test",), True, "test", None),
        (("example.test",), True, "*.test", None),
        (("example.test",), True, "bexample.test", None),
        # what is no name
        (("k.test",), False, "\u212a.test", None),
        (("a.test",), True, "b.*.a.test", None),
        (("a.test",), True, "*", None),
        (("a.test",), False, "a.test..", None),
        (("a.test",), False, "", None),
        (("192.0.2.1",), True, "192.0.2.2", None),
        (("2001:db8::1",), True, "x.2001:db8::1", None),
    ],
)
def test_export_has_no_name_that_the_keyring_does_not_pin(
    hosts: tuple[str, ...], subdomains: bool, written: str, named: str | None
) -> None:
    """Whatever form it is in; a wildcard needs every host for which it stands to be pinned."""
    one = pinned(A, B, hosts=hosts, subdomains=subdomains)
    if named is None:
        with pytest.raises(BadExport, match=re.escape(f"--host {written!r}")):
            export_hosts.chosen(one, [written])
    else:
        assert export_hosts.chosen(one, [written]).hosts == (named,)


@pytest.mark.parametrize("name", exports.names())
def test_no_form_takes_a_wildcard_of_which_only_some_hosts_are_pinned(
    machine: Machine, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """An app would refuse every other host below it."""
    machine.issue("two.test", hosts=TWO)
    machine.keep("two.test", SITE)
    assert run(machine, "--format", name, "--host", "*.example.test") == 1
    printed = capsys.readouterr()
    assert "every host of this wildcard, only a.example.test, www.example.test" in printed.err
    assert printed.out == ""


def test_hosts_of_a_deleted_certificate_are_not_exported(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Others may serve them by now."""
    machine.issue("gone.test")
    machine.keep("gone.test", SITE)
    assert run(machine, "--format", "tlsa") == 0
    assert "gone.test" in capsys.readouterr().out
    machine.delete("gone.test")
    assert run(machine, "--format", "tlsa") == 0
    assert "gone.test" not in capsys.readouterr().out
    assert run(machine, "--format", "tlsa", "--host", "gone.test") == 1


def test_g2_nothing_is_exported_that_the_key_in_service_is_not_among(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Apache still serves the old key: the new pins are for when it has loaded them."""
    old = machine.members(SITE)[SITE]
    requests.ask(machine.workflow, SITE, NOW)
    new = machine.renew(SITE, SITE, NOW + DAY, reload_command="")
    assert new != old and old not in machine.published(SITE).pins
    for name in (*APPS, "curl", "tlsa"):
        assert run(machine, "--format", name) == 1
        printed = capsys.readouterr()
        assert f"certbot-pinkeep confirm {SITE}" in printed.err and printed.out == ""
    assert run(machine, "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["still_served"] == [old]
    requests.confirm(machine.workflow, SITE, NOW + DAY)
    for name in OURS:
        assert run(machine, "--format", name) == 0
    capsys.readouterr()


@pytest.mark.parametrize("compromised", [False, True])
def test_g2_key_counts_as_served_before_apache_is_known_to_serve_it(
    machine: Machine, capsys: pytest.CaptureFixture[str], compromised: bool
) -> None:
    """Two rollovers that were forced, by an admin who has confirmed nothing yet."""
    machine.issue("new.test")
    machine.keep("new.test", "new", reload_command="")
    requests.ask(machine.workflow, "new", NOW, force=True)
    second = machine.renew("new.test", "new", NOW + DAY, reload_command="")
    requests.ask(machine.workflow, "new", NOW + DAY, compromised=compromised, force=True)
    assert machine.renew("new.test", "new", NOW + 2 * DAY, reload_command="") != second
    key = machine.state("new").keyring.key(second)
    assert key is not None and key.first_served is None
    dirs = ["--config-dir", str(machine.config), "--work-dir", str(machine.work)]
    assert main.main(["export", "new", "--format", "curl", *dirs]) == 1
    assert second in capsys.readouterr().err


def test_pins_of_an_admin_who_reloads_apache_can_be_exported(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before it is confirmed, and after a backup that was never served has left the pins."""
    machine.issue("new.test")
    for backups in (3, 2):
        machine.keep("new.test", "new", reload_command="", backup_keys=backups)
        assert machine.state("new").ledger.pending
        dirs = ["--config-dir", str(machine.config), "--work-dir", str(machine.work)]
        assert main.main(["export", "new", "--format", "curl", *dirs]) == 0
        assert capsys.readouterr().out.count("sha256//") == backups + 1
    assert len(machine.state("new").ledger.entries) == 2


# Where it is written to


def test_g9_link_is_followed(machine: Machine, tmp_path: Path) -> None:
    """Its target has the export, there before or not."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for target in (folder / "old", folder / "new"):
        link = tmp_path / f"to-{target.name}"
        link.symlink_to(target)
        (folder / "old").write_text("before")
        assert run(machine, "--format", "json", "-o", str(link)) == 0
        assert link.is_symlink() and json.loads(target.read_text())["keyring"] == SITE


def test_g9_what_is_no_file_is_written_to(machine: Machine, tmp_path: Path) -> None:
    """A pipe stays one; nor is a device ever replaced, whoever runs it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert run(machine, "--format", "curl", "-o", str(pipe)) == 0
    assert os.read(reader, 4096).startswith(b"sha256//")
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    ours, theirs = os.openpty()
    terminal = os.ttyname(theirs)
    (tmp_path / "terminal").symlink_to(terminal)
    for path in (terminal, str(tmp_path / "terminal")):
        assert run(machine, "--format", "curl", "-o", path) == 0
        assert os.read(ours, 4096).startswith(b"sha256//")
        assert stat.S_ISCHR(os.stat(path).st_mode)
    os.close(theirs)
    os.close(ours)


@pytest.mark.parametrize("path", ["-", "/dev/stdout", "/dev/fd/1"])
def test_standard_output_has_the_export_and_no_more(
    machine: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    path: str,
) -> None:
    """By whatever name; the outcome would spoil it."""
    monkeypatch.chdir(tmp_path)
    assert run(machine, "--format", "json", "-o", path) == 0
    assert json.loads(capfd.readouterr().out)["keyring"] == SITE
    assert not Path("-").exists()


def test_g9_nothing_beside_the_file_is_touched(
    machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever it is called."""
    folder = tmp_path / "app"
    (folder / ".pinkeep-1").mkdir(parents=True)
    others = [folder / name for name in (".pinkeep-notes", ".pinkeep-999999999", ".pinkeep-")]
    for other in others:
        other.write_text("mine")
    before = tree(folder)
    assert run(machine, "--format", "curl", "-o", str(folder / "pins")) == 0
    after = tree(folder)
    assert after.pop(str(folder / "pins")) and after == before


def test_export_is_what_apache_sends(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """The snippet has the same header."""
    assert run(machine, "--format", "header") == 0
    found = apache.read_policy(machine.snippet(SITE).read_text())
    assert (
        found is not None and capsys.readouterr().out == f"Public-Key-Pins: {found.header_value}\n"
    )
    assert C not in found.pins
