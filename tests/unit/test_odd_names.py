"""Names in certificates that are no hosts: not pinned, not exported, and renewed all the same."""

from __future__ import annotations

import json
import plistlib
import re
import xml.etree.ElementTree as ET
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from hypothesis import given
from hypothesis import strategies as st

from certbot_pinkeep import exports
from certbot_pinkeep.core import hostnames
from certbot_pinkeep.core.errors import BadExport
from certbot_pinkeep.core.key_and_csr import names_of
from certbot_pinkeep.core.pem import load_private_key
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.exports.values import Pin, Pinned, Settings
from simulated.machine import Site
from simulated.values import DAY, EC, NOW, SIXTY_DAYS, A, B, named, to_sign, uri_strategy

LONG = "a" * 63
#: What is a host, and its form.
HOSTS = {
    "example.com": "example.com",
    "WWW.Example.COM": "www.example.com",
    "example.com.": "example.com",
    "*.example.com": "*.example.com",
    "localhost": "localhost",
    "xn--bcher-kva.example": "xn--bcher-kva.example",
    "1.example": "1.example",
    f"{LONG}.example": f"{LONG}.example",
    "192.0.2.1": "192.0.2.1",
    "2001:DB8::1": "2001:db8::1",
}
#: What is none: by its characters, its form, its length.
NO_HOSTS = [
    "",
    ".",
    "my site",
    "My Site, Inc.",
    "bücher.example",
    "\N{KELVIN SIGN}.example",
    "a_b.example",
    "-a.example",
    "a-.example",
    "a..example",
    ".example",
    "example..",
    "*",
    "*.",
    "a.*.example",
    "w*.example",
    "*.*.example",
    "*.192.0.2.1",
    "192.0.2.256",
    "192.0.2",
    "fe80::1%eth0",
    "a.example\n",
    "a.example. IN A 192.0.2.1\nb.example",
    "a.example\x00.evil",
    "a\x1b[2J.example",
    "${Runtime.exec()}.example",
    '"a.example',
    "<a>.example",
    "https://a.example",
    "a.example:443",
    "user@a.example",
    f"{LONG}a.example",
    ".".join([LONG] * 4),
]


@pytest.mark.parametrize(("name", "host"), HOSTS.items())
def test_what_is_a_host(name: str, host: str) -> None:
    """In lower case, without the dot at its end."""
    assert hostnames.host(name) == host == hostnames.host(host)


@pytest.mark.parametrize("name", NO_HOSTS)
def test_what_is_no_host(name: str) -> None:
    """It is passed over; what is beside it counts."""
    assert hostnames.host(name) is None
    assert hostnames.hosts([name, "a.example", name, "A.example"]) == ("a.example",)


# In a certificate


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A lineage that pinkeep has not seen yet."""
    return Site(tmp_path)


def odd(site: Site, common_name: str, *names: str) -> None:
    """Make a certificate with such names live."""
    key = load_private_key(site.key)
    subject = named(common_name)
    built = to_sign(key.public_key(), names, NOW - DAY, subject, subject).sign(key, hashes.SHA256())
    live = site.config / "live" / site.name / "cert.pem"
    live.write_bytes(built.public_bytes(serialization.Encoding.PEM))


def test_g3_odd_names_are_not_pinned_and_still_asked_for(site: Site) -> None:
    """The CSR of a renewal has exactly the certificate's names; the keyring has its hosts."""
    names = ("a.example", "a b.example", "$evil.example", "*.c.example")
    odd(site, "My Site", *names)
    live = site.look()
    assert live.names == ("a.example", "*.c.example")
    assert live.requested == ("my site", *names)
    site.keep()
    assert site.state().keyring.hosts == ("a.example", "*.c.example")
    handed = site.workflow.handover(live, site.name, list(live.requested), NOW)
    asked = x509.load_pem_x509_csr(handed.csr.pem)
    assert set(names_of(asked)) == {"my site", *names}
    assert handed.csr.path is not None  # the one that was saved beforehand
    assert handed.pin == live.pin


def test_g3_a_certificate_without_any_host_is_renewed(site: Site) -> None:
    """Its keyring has no host, and no export."""
    odd(site, "Größe", "$.example")
    site.keep()
    assert site.state().keyring.hosts == ()
    handed = site.workflow.handover(site.look(), site.name, ["$.example"], NOW)
    assert handed.pin == site.look().pin


# In an export


def pinned(hosts: tuple[str, ...], uri: str | None = None, whole: bool = False) -> Pinned:
    """What an export is made of."""
    policy = Policy((A, B), SIXTY_DAYS, whole, uri)
    return Pinned("ring", hosts, policy, (Pin(A, EC, "in-service"), Pin(B, EC, "backup")), NOW)


def is_valid(form: str, text: str, given_pins: Pinned) -> bool:
    """Whether the consumer reads what is meant."""
    if form == "tlsa":
        name = r"_\d+\._(?:tcp|udp)\.(?:[a-z0-9-]{1,63}\.)+"
        lines = text.splitlines()
        whole = all(re.fullmatch(rf"{name} IN TLSA 3 1 1 [0-9a-f]{{64}}", one) for one in lines)
        return whole and all(len(one.partition(" ")[0]) <= 254 for one in lines)
    if form in ("ios", "trustkit"):
        return bool(plistlib.loads(text.encode()))
    if form == "android":
        found = [one.text or "" for one in ET.fromstring(text).iter("domain")]
        return bool(found) and all(hostnames.host(one) == one for one in found)
    if form == "okhttp":
        return not re.search(r"[$\x00-\x09\x0b-\x1f\x7f-\U0010ffff]", text)
    if form == "json":
        return bool(list(given_pins.hosts) == json.loads(text)["hosts"])
    lines = text.splitlines()
    return text.isascii() and len(lines) == (text.count("\n")) and "\x1b" not in text


FORMS = ("header", "json", "nginx", "ios", "android", "okhttp", "trustkit", "curl", "tlsa")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NO_HOSTS)
def test_g10_what_is_no_host_is_in_no_export(form: str, name: str) -> None:
    """Whatever put it into the keyring."""
    with pytest.raises(BadExport, match="not the name of a host"):
        exports.render(form, pinned(("a.example", name)), Settings())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("uri", ["https://a.example/\n", "https://a/\x1b", "https://a/'{", "x:y"])
def test_g10_what_is_no_uri_is_in_no_export(form: str, uri: str) -> None:
    """It would end the line that it is in."""
    with pytest.raises(BadExport, match="report-uri"):
        exports.render(form, pinned(("a.example",), uri), Settings())


ODD = st.one_of(
    st.sampled_from([*HOSTS, *NO_HOSTS]),
    st.text(max_size=20),
    st.from_regex(r"(\*\.)?[a-z0-9-]{1,70}(\.[a-z0-9-]{1,63}){1,4}", fullmatch=True),
)


@given(
    st.sampled_from(FORMS),
    st.lists(ODD, max_size=3),
    st.none() | uri_strategy() | st.text(max_size=20),
    st.booleans(),
)
def test_exports_are_valid_or_refused(
    form: str, names: list[str], uri: str | None, whole: bool
) -> None:
    """Whatever the names and the URI are."""
    given_pins = pinned(tuple(names), uri, whole)
    try:
        text = exports.render(form, given_pins, Settings())
    except BadExport as error:
        assert "broken" not in str(error)
        return
    assert is_valid(form, text, given_pins)


@given(st.text(max_size=40) | ODD)
def test_a_host_is_an_address_or_ldh(name: str) -> None:
    """And its form is a host that stays as it is."""
    found = hostnames.host(name)
    if found is None:
        return
    assert hostnames.host(found) == found
    if not re.fullmatch(r"(\*\.)?[a-z0-9.-]{1,253}", found):
        assert str(ip_address(found)) == found


def test_the_longest_host_has_no_room_for_a_port() -> None:
    """A name in DNS has 253 characters, with the labels of the port."""
    longest = ".".join([LONG, LONG, LONG, "a" * 61])
    assert hostnames.host(longest) == longest
    with pytest.raises(BadExport, match="254 characters"):
        exports.render("tlsa", pinned((longest,)), Settings())
    assert exports.render("ios", pinned((longest,)), Settings())
