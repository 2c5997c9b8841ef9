"""The lab itself: a refusal by its visitor means something, and its Apache sends what it should."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from e2e.reasons import LAB
from lab import Apache, Ca, Certbot, LabError, VirtualHost, Wget2

pytestmark = LAB

NAME = "www.pin.test"
SPARE = "A" * 43 + "="
HEADER = 'pin-sha256="{pin}"; pin-sha256="{spare}"; max-age=5184000'
SNIPPET = """Header always set Public-Key-Pins "{value}" "expr=%{{HTTPS}} == 'on'"\n"""


def write_snippet(path: Path, pin: str) -> str:
    """Write the header by hand, as an admin without the plugin would; return its value."""
    value = HEADER.format(pin=pin, spare=SPARE)
    path.write_text(SNIPPET.format(value=value.replace('"', r"\"")))
    return value


@pytest.fixture
def site(certbot_: Certbot, apache: Callable[..., Apache], tmp_path: Path) -> Apache:
    """A site with a certificate of plain certbot's and a header written by hand."""
    certbot_.certonly("-d", NAME).check()
    snippet = tmp_path / "snippet.conf"
    server = apache(VirtualHost((NAME,), (certbot_.live(NAME),), snippet))
    write_snippet(snippet, server.served_pin(NAME))
    server.reload()
    return server


def test_a_new_key_is_refused(
    certbot_: Certbot, site: Apache, visitor: Callable[..., Wget2]
) -> None:
    """Plain certbot renews with a new key: who noted the old one refuses it, a newcomer does not."""
    regular = visitor(NAME)
    assert regular.visit(site.url(NAME)).accepted
    noted = site.served_pin(NAME)
    assert regular.noted(NAME) == [noted, SPARE]

    certbot_.renew("--force-renewal").check()
    site.reload()

    assert site.served_pin(NAME) != noted
    assert regular.visit(site.url(NAME)).mismatch
    assert visitor(NAME).visit(site.url(NAME)).accepted


def test_the_same_key_is_accepted(
    certbot_: Certbot, site: Apache, visitor: Callable[..., Wget2]
) -> None:
    """Plain certbot renews with ``--reuse-key``: a new certificate, and nobody is refused."""
    regular = visitor(NAME)
    assert regular.visit(site.url(NAME)).accepted
    pin, serial = site.served_pin(NAME), site.served_serial(NAME)

    certbot_.renew("--force-renewal", "--reuse-key").check()
    site.reload()

    assert site.served_serial(NAME) != serial
    assert site.served_pin(NAME) == pin
    assert regular.visit(site.url(NAME)).accepted


def test_pins_run_out(certbot_: Certbot, site: Apache, visitor: Callable[..., Wget2]) -> None:
    """A moved clock reaches both certbot and the visitor: after max-age another key is accepted."""
    regular = visitor(NAME)
    assert regular.visit(site.url(NAME)).accepted
    later = timedelta(days=59)
    certbot_.renew("--force-renewal", faketime=later).check()
    site.reload()

    assert regular.visit(site.url(NAME), faketime=later).mismatch
    assert regular.visit(site.url(NAME), faketime=timedelta(days=61)).accepted


def test_the_header_goes_out_once_and_over_tls_only(site: Apache, tmp_path: Path) -> None:
    """One header over TLS, for a page and for an error alike; none over plain HTTP."""
    value = write_snippet(tmp_path / "snippet.conf", site.served_pin(NAME))
    for path, status in (("/", 200), ("/missing", 404)):
        assert (site.get(NAME, path).status, site.get(NAME, path).pins) == (status, [value])
        assert site.get_plain(NAME, path).status == status
        assert site.get_plain(NAME, path).pins == []


def test_two_headers_are_seen_as_two(site: Apache, tmp_path: Path) -> None:
    """A header set in both of Apache's tables is counted twice: a count of one means something."""
    with (tmp_path / "snippet.conf").open("a") as snippet:
        snippet.write('Header set Public-Key-Pins "max-age=0"\n')
    site.reload()
    assert len(site.get(NAME).pins) == 2


def test_configtest(site: Apache, tmp_path: Path) -> None:
    """Apache's own check knows a good configuration from a bad one."""
    assert site.configtest().returncode == 0
    (tmp_path / "snippet.conf").write_text("Nonsense on\n")
    assert site.configtest().returncode != 0


def test_a_name_can_fail_validation(ca: Ca, certbot_: Certbot) -> None:
    """A name that is pointed elsewhere gets no certificate, until it is pointed back."""
    ca.point("lost.test")
    assert certbot_.certonly("-d", "lost.test").returncode != 0
    ca.unpoint("lost.test")
    certbot_.certonly("-d", "lost.test").check()


def test_a_wildcard(certbot_: Certbot) -> None:
    """The lab's DNS answers dns-01, which a wildcard needs."""
    certbot_.certonly("-d", "*.pin.test", by=certbot_.by_dns).check()
    certificate = x509.load_pem_x509_certificate(
        (certbot_.live("pin.test") / "cert.pem").read_bytes()
    )
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["*.pin.test"]


def test_a_visitor_reports_only_pins(root: Path, tmp_path: Path, site: Apache) -> None:
    """A certificate that is not trusted is an error of the lab, and no refusal of a pin."""
    stranger = Wget2(tmp_path / "stranger", Path("/dev/null"), [NAME])
    with pytest.raises(LabError, match="neither read nor refused"):
        stranger.visit(site.url(NAME))
