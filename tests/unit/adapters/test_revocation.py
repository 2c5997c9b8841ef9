"""Whether a certificate is revoked: only what the CA signed counts, all else is unknown."""

from __future__ import annotations

import gzip
import inspect
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtensionOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from certbot_pinkeep import __version__
from certbot_pinkeep.adapters import revocation
from certbot_pinkeep.adapters.revocation import Answer
from certbot_pinkeep.core.pem import PrivateKey
from simulated.values import DAY, HOUR, NOW, pem_of

EC_KEY, OTHER_KEY, THIRD_KEY = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
LEAF_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)
SHA256 = hashes.SHA256()
UNKNOWN_EXTENSION = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")
OF_KEY = x509.ReasonFlags.key_compromise
CRL_FILLER = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.6"), bytes(1000))
# RFC 5280 §5.3.1
REASONS = {
    x509.ReasonFlags.unspecified: "unspecified",
    x509.ReasonFlags.key_compromise: "keyCompromise",
    x509.ReasonFlags.ca_compromise: "cACompromise",
    x509.ReasonFlags.affiliation_changed: "affiliationChanged",
    x509.ReasonFlags.superseded: "superseded",
    x509.ReasonFlags.cessation_of_operation: "cessationOfOperation",
    x509.ReasonFlags.certificate_hold: "certificateHold",
    x509.ReasonFlags.privilege_withdrawn: "privilegeWithdrawn",
    x509.ReasonFlags.aa_compromise: "aACompromise",
}


# A little CA


def named(name: str) -> x509.Name:
    """A distinguished name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


@dataclass(frozen=True)
class CA:
    """A CA's certificate with its key."""

    key: PrivateKey
    certificate: x509.Certificate


def issue(
    key: PrivateKey,
    name: str,
    by: CA | None,
    *extensions: tuple[x509.ExtensionType, bool],
    since: datetime = NOW - 30 * DAY,
    until: datetime = NOW + 30 * DAY,
    serial: int | None = None,
) -> CA:
    """A certificate by a CA, or by itself."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(by.certificate.subject if by else named(name))
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return CA(key, builder.sign(by.key if by else key, SHA256))


def key_usage(crl_sign: bool) -> x509.KeyUsage:
    """A CA's key usage."""
    return x509.KeyUsage(True, False, False, False, False, True, crl_sign, False, False)


ROOT = issue(THIRD_KEY, "Root", None)
ISSUER = issue(EC_KEY, "Issuer", ROOT, (key_usage(True), True))
RSA_ISSUER = issue(RSA_KEY, "RSA Issuer", ROOT)
# The issuer's name, but another key, and the other way around.
NAMESAKE = issue(OTHER_KEY, "Issuer", ROOT)
STRANGER = issue(OTHER_KEY, "Stranger", ROOT)
RENAMED = issue(EC_KEY, "Stranger", ROOT)


def pem(*authorities: CA) -> bytes:
    """Certificates in PEM."""
    return b"".join(one.certificate.public_bytes(Encoding.PEM) for one in authorities)


CHAIN = pem(ISSUER, ROOT)


# The CA's server

Reply = Callable[[BaseHTTPRequestHandler], None]


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    path: str
    agent: str


class Web(ThreadingHTTPServer):
    """A server on the loopback that answers what a test puts in.

    :ivar answers: by path, the body, or what makes the whole answer
    :ivar ended: set when the test is over
    """

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, bytes | Reply] = {}
        self.asked: list[Asked] = []
        self.ended = threading.Event()
        self.base = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """Looks up the answer."""

    server: Web

    def do_GET(self) -> None:
        """Answer."""
        self.server.asked.append(Asked(self.path, self.headers.get("User-Agent", "")))
        answer = self.server.answers.get(self.path)
        if answer is None:
            self.send_error(404)
        elif callable(answer):
            answer(self)
        else:
            response(200, answer)(self)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def response(status: int, body: bytes, **headers: str) -> Reply:
    """Answer with a status, a body and headers; an underscore in their names is a hyphen."""
    given = {"Content_Length": str(len(body))} | headers

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in given.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return reply


def redirect(location: str) -> Reply:
    """Answer with a redirect."""
    return response(302, b"", Location=location)


def no_http(handler: BaseHTTPRequestHandler) -> None:
    """Answer with what is no HTTP, and would change the admin's terminal."""
    handler.wfile.write(b"\x1b[2J no HTTP\r\n\r\n")


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """The CA's server, asked without a proxy."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with Web() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.ended.set()
        server.shutdown()
        thread.join()


# What it says


def location(url: str) -> x509.UniformResourceIdentifier:
    """A URL in a certificate."""
    return x509.UniformResourceIdentifier(url)


def points(
    *urls: str, reasons: frozenset[x509.ReasonFlags] | None = None
) -> x509.CRLDistributionPoints:
    """The extension that names CRLs."""
    return x509.CRLDistributionPoints(
        [x509.DistributionPoint([location(url)], None, reasons, None) for url in urls]
    )


def by_crl(web: Web, ca: CA = ISSUER, path: str = "/crl") -> CA:
    """A certificate that names a CRL."""
    return issue(LEAF_KEY, "leaf", ca, (points(web.base + path), False))


Extensions = tuple[tuple[x509.ExtensionType, bool], ...]


def revocation_list(
    *listed: CA,
    ca: CA = ISSUER,
    extensions: Extensions = (),
    entry: Extensions = (),
    since: datetime = NOW - HOUR,
    until: datetime = NOW + DAY,
    pss: padding.PSS | None = None,
) -> bytes:
    """A CRL.

    :param entry: the extensions of its entries
    :param pss: how it is signed, if the cryptography at hand can do that
    """
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.certificate.subject)
        .last_update(since)
        .next_update(until)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    for one in listed:
        revoked = x509.RevokedCertificateBuilder().revocation_date(since)
        revoked = revoked.serial_number(one.certificate.serial_number)
        for extension, critical in entry:
            revoked = revoked.add_extension(extension, critical)
        builder = builder.add_revoked_certificate(revoked.build())
    if pss:
        return builder.sign(ca.key, SHA256, rsa_padding=pss).public_bytes(Encoding.DER)
    return builder.sign(ca.key, SHA256).public_bytes(Encoding.DER)


def distribution(
    *urls: str,
    user: bool = False,
    ca: bool = False,
    reasons: frozenset[x509.ReasonFlags] | None = None,
    indirect: bool = False,
    attributes: bool = False,
    relative: x509.RelativeDistinguishedName | None = None,
) -> Extensions:
    """A critical issuing distribution point."""
    names = [location(url) for url in urls] or None
    value = x509.IssuingDistributionPoint(names, relative, user, ca, reasons, indirect, attributes)
    return ((value, True),)


def look(leaf: CA, chain: bytes = CHAIN, now: datetime = NOW, time_limit: float = 60) -> Answer:
    """Ask."""
    return revocation.look(pem(leaf), chain, now, time_limit)


def unknown(answer: Answer, url: str, *words: str) -> bool:
    """Whether an answer is unknown, and says of whom and why."""
    said = all(word in answer.why for word in (url, *words))
    return (answer.revoked, answer.reason, answer.compromised, said) == (None, "", False, True)


Period = tuple[datetime, datetime]
STALE: list[Period] = [
    (NOW - 3 * DAY, NOW - timedelta(seconds=1)),
    (NOW + HOUR, NOW + DAY),
]
CURRENT: list[Period] = [
    (NOW - 3 * DAY, NOW),
    (NOW + timedelta(minutes=4), NOW + DAY),
]


# CRLs


@pytest.mark.parametrize("ca", [ISSUER, RSA_ISSUER])
def test_crl_is_believed(web: Web, ca: CA) -> None:
    """A certificate on the issuer's CRL is revoked, and no other one."""
    leaf, other = by_crl(web, ca), by_crl(web, ca)
    web.answers["/crl"] = revocation_list(other, leaf, ca=ca)
    assert look(leaf, pem(ca, ROOT)) == Answer(True, "unspecified")
    web.answers["/crl"] = revocation_list(other, ca=ca)
    assert look(leaf, pem(ca, ROOT)) == Answer(False)
    assert [asked.path for asked in web.asked] == ["/crl"] * 2


def knows_pss() -> bool:
    """Whether the cryptography at hand can make PSS signatures and read them in CRLs."""
    if (
        "rsa_padding"
        not in inspect.signature(x509.CertificateRevocationListBuilder.sign).parameters
    ):
        return False
    crl = x509.load_der_x509_crl(revocation_list(ca=RSA_ISSUER, pss=PSS))
    try:
        return crl.signature_hash_algorithm is not None
    except UnsupportedAlgorithm:
        return False


PSS = padding.PSS(padding.MGF1(SHA256), padding.PSS.DIGEST_LENGTH)


@pytest.mark.skipif(not knows_pss(), reason="this cryptography does not know such signatures")
def test_crl_with_a_pss_signature_is_believed(web: Web) -> None:
    """RSA issuers may sign with PSS."""
    leaf = by_crl(web, RSA_ISSUER)
    web.answers["/crl"] = revocation_list(leaf, ca=RSA_ISSUER, pss=PSS)
    assert look(leaf, pem(RSA_ISSUER)) == Answer(True, "unspecified")
    forger = CA(rsa.generate_private_key(65537, 2048), RSA_ISSUER.certificate)
    web.answers["/crl"] = revocation_list(leaf, ca=forger, pss=PSS)
    assert unknown(look(leaf, pem(RSA_ISSUER)), f"{web.base}/crl", "issuer did not sign")


@pytest.mark.parametrize(("reason", "name"), REASONS.items())
def test_crl_tells_the_reason(web: Web, reason: x509.ReasonFlags, name: str) -> None:
    """Its name is the one of RFC 5280, and only keyCompromise is about the key."""
    leaf = by_crl(web)
    entry = ((x509.InvalidityDate(datetime(2026, 1, 1)), False), (x509.CRLReason(reason), False))
    web.answers["/crl"] = revocation_list(leaf, entry=entry)
    answer = look(leaf)
    assert answer == Answer(True, name)
    assert answer.compromised == (name == "keyCompromise")


def test_entry_that_is_removed_is_not_revoked(web: Web) -> None:
    """removeFromCRL takes a revocation back."""
    leaf = by_crl(web)
    removed = ((x509.CRLReason(x509.ReasonFlags.remove_from_crl), False),)
    web.answers["/crl"] = revocation_list(leaf, entry=removed)
    assert look(leaf) == Answer(False)


@pytest.mark.parametrize("ca", [STRANGER, RENAMED, NAMESAKE, ROOT])
@pytest.mark.parametrize("on_it", [True, False])
def test_crl_of_another_issuer_is_not_believed(web: Web, ca: CA, on_it: bool) -> None:
    """Neither with another name nor with another key."""
    leaf = by_crl(web)
    web.answers["/crl"] = revocation_list(*[leaf] * on_it, ca=ca)
    assert unknown(look(leaf), f"{web.base}/crl", "issuer")


@pytest.mark.parametrize("crl_sign", [True, False])
def test_issuer_must_be_allowed_to_sign_crls(web: Web, crl_sign: bool) -> None:
    """RFC 5280 §6.3.3 (f): what the key usage does not allow does not count."""
    leaf = by_crl(web)
    chain = pem(issue(EC_KEY, "Issuer", ROOT, (key_usage(crl_sign), True)))
    web.answers["/crl"] = revocation_list(leaf)
    assert look(leaf, chain).revoked is (True if crl_sign else None)


@pytest.mark.parametrize(("since", "until"), STALE)
def test_only_absence_from_a_crl_expires(web: Web, since: datetime, until: datetime) -> None:
    """An old CRL may lack a revocation; one that it has stays true."""
    leaf = by_crl(web)
    web.answers["/crl"] = revocation_list(since=since, until=until)
    assert unknown(look(leaf), f"{web.base}/crl", "sent a CRL that is")
    web.answers["/crl"] = revocation_list(leaf, since=since, until=until)
    assert look(leaf) == Answer(True, "unspecified")


@pytest.mark.parametrize(("since", "until"), CURRENT)
def test_current_crl_counts(web: Web, since: datetime, until: datetime) -> None:
    """Up to its last second, and with clocks that differ a little."""
    web.answers["/crl"] = revocation_list(since=since, until=until)
    assert look(by_crl(web)) == Answer(False)


def test_crl_forgets_certificates_that_expired(web: Web) -> None:
    """It need only list the unexpired ones (RFC 5280 §5)."""
    urls = points(f"{web.base}/crl")
    leaf = issue(LEAF_KEY, "leaf", ISSUER, (urls, False), until=NOW - HOUR)
    web.answers["/crl"] = revocation_list()
    assert unknown(look(leaf), f"{web.base}/crl", "only certificates that are valid")
    web.answers["/crl"] = revocation_list(leaf)
    assert look(leaf) == Answer(True, "unspecified")


@pytest.mark.parametrize("on_it", [True, False])
def test_partitioned_crl_is_believed_for_its_own_certificates(web: Web, on_it: bool) -> None:
    """A part of the CRL says by its URL for whom it speaks (RFC 5280 §6.3.3 (b) (2) (i))."""
    leaf = by_crl(web)
    here, offline = f"{web.base}/crl", f"{web.base}/crl/2"
    listed = [leaf] * on_it
    for part in (distribution(here, user=True), distribution(offline, here)):
        web.answers["/crl"] = revocation_list(*listed, extensions=part)
        assert look(leaf).revoked is on_it
    for part in (distribution(offline, user=True), distribution("http://127.0.0.1/crl")):
        web.answers["/crl"] = revocation_list(*listed, extensions=part)
        assert unknown(look(leaf), here, "another distribution point")


def test_partitioned_crl_may_name_another_url_of_the_point(web: Web) -> None:
    """One distribution point may have several URLs, of which the CRL names one."""
    names = [location("ldap://127.0.0.1/crl"), location(f"{web.base}/crl")]
    urls = x509.CRLDistributionPoints([x509.DistributionPoint(names, None, None, None)])
    leaf = issue(LEAF_KEY, "leaf", ISSUER, (urls, False))
    part = distribution("ldap://127.0.0.1/crl")
    web.answers["/crl"] = revocation_list(leaf, extensions=part)
    assert look(leaf) == Answer(True, "unspecified")


RELATIVE = x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COMMON_NAME, "1")])


@pytest.mark.parametrize(
    ("extensions", "why"),
    [
        (((x509.DeltaCRLIndicator(1), True),), "delta"),
        (distribution(indirect=True), "indirect"),
        (distribution(ca=True), "kind of certificates"),
        (distribution(attributes=True), "kind of certificates"),
        (distribution(reasons=frozenset([OF_KEY])), "some reasons"),
        (distribution(relative=RELATIVE), "another distribution point"),
        (((UNKNOWN_EXTENSION, True),), "critical extension"),
    ],
)
@pytest.mark.parametrize("on_it", [True, False])
def test_crl_that_is_not_complete_is_not_used(
    web: Web, extensions: Extensions, why: str, on_it: bool
) -> None:
    """Nor one with a critical extension that says we know not what (RFC 5280 §5.2)."""
    leaf = by_crl(web)
    web.answers["/crl"] = revocation_list(*[leaf] * on_it, extensions=extensions)
    assert unknown(look(leaf), f"{web.base}/crl", why)


def test_harmless_extensions_of_a_crl_are_passed_over(web: Web) -> None:
    """Its number, its key's name and unknown ones that are not critical change nothing."""
    key_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(EC_KEY.public_key())
    extensions = ((x509.CRLNumber(7), True), (key_id, False), (UNKNOWN_EXTENSION, False))
    web.answers["/crl"] = revocation_list(extensions=extensions)
    assert look(by_crl(web)) == Answer(False)


@pytest.mark.parametrize(
    "extension", [UNKNOWN_EXTENSION, x509.CertificateIssuer([location("http://127.0.0.1")])]
)
def test_entry_with_a_critical_extension_is_not_used(
    web: Web, extension: x509.ExtensionType
) -> None:
    """It may be another issuer's certificate that is meant (RFC 5280 §5.3)."""
    leaf = by_crl(web)
    web.answers["/crl"] = revocation_list(leaf, entry=((extension, True),))
    assert unknown(look(leaf), f"{web.base}/crl", "critical extension")


def test_point_for_some_reasons_is_not_enough(web: Web) -> None:
    """Its CRL says nothing of the other reasons."""
    urls = points(f"{web.base}/crl", reasons=frozenset([x509.ReasonFlags.superseded]))
    web.answers["/crl"] = revocation_list()
    answer = look(issue(LEAF_KEY, "leaf", ISSUER, (urls, False)))
    assert unknown(answer, f"{web.base}/crl", "some reasons")


# Whom to ask


def two_crls(web: Web) -> CA:
    """A certificate that names two CRLs."""
    return issue(LEAF_KEY, "leaf", ISSUER, (points(f"{web.base}/1", f"{web.base}/2"), False))


def test_definite_answer_decides(web: Web) -> None:
    """The next CRL is not asked after it."""
    leaf = two_crls(web)
    web.answers.update({"/1": revocation_list(), "/2": revocation_list(leaf)})
    assert look(leaf) == Answer(False)
    assert [asked.path for asked in web.asked] == ["/1"]


@pytest.mark.parametrize("on_it", [True, False])
@pytest.mark.parametrize(
    "first",
    [
        None,
        b"garbage",
        revocation_list(since=NOW - 2 * DAY, until=NOW - DAY),
        revocation_list(ca=NAMESAKE),
    ],
)
def test_next_crl_is_asked_when_the_first_says_nothing(
    web: Web, first: bytes | None, on_it: bool
) -> None:
    """Whatever comes instead of a definite answer."""
    leaf = two_crls(web)
    if first is not None:
        web.answers["/1"] = first
    web.answers["/2"] = revocation_list(*[leaf] * on_it)
    assert look(leaf).revoked is on_it
    assert [asked.path for asked in web.asked] == ["/1", "/2"]


def test_every_crl_is_asked_and_named(web: Web) -> None:
    """Several CRLs are asked in turn, and the admin reads of all of them."""
    urls = [web.base + path for path in ("/1", "/2", "/3")]
    answer = look(issue(LEAF_KEY, "leaf", ISSUER, (points(*urls), False)))
    assert [asked.path for asked in web.asked] == ["/1", "/2", "/3"]
    assert answer.why == "; ".join(f"{url!r} answered with the status 404" for url in urls)
    assert answer.revoked is None


RESPONDER = x509.AuthorityInformationAccess(
    [
        x509.AccessDescription(
            AuthorityInformationAccessOID.OCSP,
            location("http://127.0.0.1:9/ocsp"),
        )
    ]
)
NAMELESS = x509.CRLDistributionPoints(
    [
        x509.DistributionPoint([x509.DirectoryName(named("CRL"))], None, None, None),
        x509.DistributionPoint(None, RELATIVE, None, None),
    ]
)


@pytest.mark.parametrize("extensions", [(), ((RESPONDER, False),), ((NAMELESS, False),)])
def test_nobody_to_ask_is_unknown_and_silent(extensions: Extensions) -> None:
    """A certificate that names no CRL is not worth a word, nor is an OCSP responder asked."""
    leaf = issue(LEAF_KEY, "leaf", ISSUER, *extensions)
    assert look(leaf) == look(leaf, chain=b"") == Answer(None)


# The files


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"garbage",
        b"\xff\x00",
        pem(ISSUER)[:200],
        pem(ISSUER).replace(b"M", b"N"),
        pem_of(EC_KEY),
    ],
)
def test_damaged_certificate_is_unknown(damaged: bytes) -> None:
    """What is live may be damaged; the renewal goes on."""
    answer = revocation.look(damaged, CHAIN, NOW)
    assert unknown(answer, "the certificate cannot be read")


def test_damaged_extension_is_unknown() -> None:
    """A certificate may be sound but for what it says of whom to ask."""
    oid = ExtensionOID.CRL_DISTRIBUTION_POINTS
    broken = x509.UnrecognizedExtension(oid, b"\x30\x05garbage")
    answer = look(issue(LEAF_KEY, "leaf", ISSUER, (broken, False)))
    assert unknown(answer, "the certificate cannot be read")


@pytest.mark.parametrize(
    "chain", [b"", b"garbage", pem(ROOT), pem(NAMESAKE), pem(RENAMED), pem(ISSUER)[:-40]]
)
def test_chain_without_the_issuer_is_unknown(web: Web, chain: bytes) -> None:
    """Nobody is asked, for nothing could be believed."""
    leaf = by_crl(web)
    web.answers["/crl"] = revocation_list(leaf)
    assert unknown(look(leaf, chain), "chain does not hold its issuer")
    assert not web.asked


def test_issuer_may_be_anywhere_in_the_chain(web: Web) -> None:
    """Namesakes and damaged certificates before it are passed over."""
    leaf = by_crl(web)
    web.answers["/crl"] = revocation_list(leaf)
    damaged = pem(ROOT).replace(b"M", b"N")
    assert look(leaf, pem(ROOT, NAMESAKE) + damaged + CHAIN) == Answer(True, "unspecified")


def test_issuer_with_a_key_of_another_kind_is_passed_over(web: Web) -> None:
    """Only RSA and ECDSA signatures are checked."""
    key = ed25519.Ed25519PrivateKey.generate()
    builder = x509.CertificateBuilder().subject_name(named("Issuer")).issuer_name(named("Issuer"))
    builder = builder.public_key(key.public_key()).serial_number(1)
    issuer = builder.not_valid_before(NOW).not_valid_after(NOW + DAY).sign(key, None)
    chain = issuer.public_bytes(Encoding.PEM)
    assert unknown(look(by_crl(web), chain), "chain does not hold its issuer")


# HTTP


#: What comes in place of a CRL: made of a sound one, and what is said of it.
NO_CRL: dict[str, tuple[Callable[[bytes], Reply], str]] = {
    "nothing": (lambda crl: response(200, b""), "cannot be read"),
    "garbage": (lambda crl: response(200, b"garbage"), "cannot be read"),
    "half of a structure": (lambda crl: response(200, b"\x30\x80"), "cannot be read"),
    "the page of a captive portal": (lambda crl: response(200, b"<html>" * 1000), "cannot be read"),
    "no HTTP": (lambda crl: no_http, "cannot be reached"),
    "no content": (lambda crl: response(204, b""), "the status 204"),
    "a CRL that was not found": (lambda crl: response(404, crl), "the status 404"),
    "a CRL with an error of the request": (lambda crl: response(400, crl), "the status 400"),
    "a CRL with an error of the server": (lambda crl: response(500, crl), "the status 500"),
    "a CRL of a server that is too busy": (lambda crl: response(503, crl), "the status 503"),
    "a part of the CRL": (lambda crl: response(200, crl[:-1], Content_Length=str(len(crl))), ""),
    # A few bytes could unpack to more than the memory holds.
    "a packed CRL": (
        lambda crl: response(200, gzip.compress(crl), Content_Encoding="gzip"),
        "cannot be read",
    ),
    "a redirect to nowhere": (lambda crl: response(302, crl), "the status 302"),
    "a redirect to nothing": (lambda crl: response(302, crl, Location=""), "the status 302"),
    "a place, and no redirect": (lambda crl: response(404, b"", Location="/2"), "the status 404"),
    "a place, and nothing new": (lambda crl: response(304, b"", Location="/2"), "the status 304"),
}


@pytest.mark.parametrize(("reply", "why"), NO_CRL.values(), ids=list(NO_CRL))
def test_what_is_no_crl_is_unknown(web: Web, reply: Callable[[bytes], Reply], why: str) -> None:
    """Nothing in it counts, nobody else is asked, and what is said does nothing to a terminal."""
    leaf = by_crl(web)
    crl = revocation_list(leaf)
    web.answers.update({"/crl": reply(crl), "/2": crl})
    answer = look(leaf)
    assert unknown(answer, f"{web.base}/crl", why) and answer.why.isprintable()
    assert len(web.asked) == 1


def test_refused_connection_is_unknown() -> None:
    """The admin reads why."""
    with socket.socket() as closed:  # bound, but nobody listens
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/crl"
        answer = look(issue(LEAF_KEY, "leaf", ISSUER, (points(url), False)))
    assert unknown(answer, url, "Connection refused")


@pytest.mark.parametrize("slow", ["headers", "body"])
def test_slow_bytes_do_not_keep_us(web: Web, slow: str) -> None:
    """Every byte comes in time, but not all of them: neither of the headers nor of the answer."""
    leaf = by_crl(web)
    crl = revocation_list(leaf, extensions=((CRL_FILLER, False),))
    headers = b"HTTP/1.0 200 OK\r\nServer: " + b"slow " * 200 + b"\r\n\r\n"
    finished, gone = threading.Event(), threading.Event()

    def drip(handler: BaseHTTPRequestHandler, content: bytes) -> None:
        for byte in content:
            web.ended.wait(0.001)
            handler.wfile.write(bytes([byte]))
        finished.set()

    def reply(handler: BaseHTTPRequestHandler) -> None:
        try:
            if slow == "headers":
                drip(handler, headers)
                handler.wfile.write(crl)
            else:
                handler.wfile.write(headers)
                drip(handler, crl)
        except OSError:
            gone.set()

    web.answers["/crl"] = reply
    answer = look(leaf, time_limit=0.2)
    assert not finished.is_set()
    assert unknown(answer, f"{web.base}/crl", "did not answer in time")
    if slow == "body":
        assert gone.wait(60)  # the thread that was left behind ends, too


def test_silent_server_leaves_time_for_the_next_crl(web: Web) -> None:
    """Each source has its share of the time, and is left when it is over."""
    leaf = two_crls(web)
    left = threading.Event()

    def reply(handler: BaseHTTPRequestHandler) -> None:
        if not handler.rfile.read(1):
            left.set()

    web.answers.update({"/1": reply, "/2": revocation_list(leaf)})
    assert look(leaf, time_limit=4) == Answer(True, "unspecified")
    assert left.wait(30)


def test_no_time_is_unknown(web: Web) -> None:
    """Without time there is no answer."""
    leaf = two_crls(web)
    web.answers["/2"] = revocation_list(leaf)
    answer = look(leaf, time_limit=0)
    assert unknown(answer, f"{web.base}/1", f"{web.base}/2", "did not answer in time")


def test_crl_has_a_largest_size(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte more, and it is unknown."""
    leaf = by_crl(web)
    crl = web.answers["/crl"] = revocation_list(leaf)
    monkeypatch.setattr(revocation, "LARGEST", len(crl))
    assert look(leaf) == Answer(True, "unspecified")
    monkeypatch.setattr(revocation, "LARGEST", len(crl) - 1)
    assert unknown(look(leaf), f"{web.base}/crl", f"more than {len(crl) - 1} bytes")


@pytest.mark.parametrize(("status", "why"), [(200, "bytes"), (302, "the status 404")])
def test_endless_answer_is_given_up(web: Web, status: int, why: str) -> None:
    """What is too large is not read to its end, and the body of a redirect not at all."""
    gone = threading.Event()

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Location", "/nowhere")
        handler.end_headers()
        try:
            while not web.ended.is_set():
                handler.wfile.write(bytes(1 << 16))
        except OSError:
            gone.set()

    web.answers["/crl"] = reply
    assert unknown(look(by_crl(web), time_limit=10), f"{web.base}/crl", why)
    assert gone.wait(60)


def test_redirect_is_followed(web: Web) -> None:
    """The CRL may have moved."""
    leaf = by_crl(web)
    web.answers.update({"/crl": redirect("/moved"), "/moved": revocation_list()})
    assert look(leaf) == Answer(False)
    assert [asked.path for asked in web.asked] == ["/crl", "/moved"]
    assert {asked.agent for asked in web.asked} == {f"certbot-pinkeep/{__version__}"}


@pytest.mark.parametrize("scheme", ["file", "ftp", "data", "ldap", "FILE"])
def test_redirect_elsewhere_is_not_followed(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """A file here is not what the CA says, and no proxy is asked for other kinds of URLs."""
    leaf = by_crl(web)
    crl = tmp_path / "crl"
    crl.write_bytes(revocation_list(leaf))
    monkeypatch.setenv(f"{scheme.lower()}_proxy", web.base)
    web.answers["/crl"] = redirect(f"{scheme}://{crl}")
    assert unknown(look(leaf), f"{web.base}/crl")
    assert len(web.asked) == 1


def test_redirects_end(web: Web) -> None:
    """A loop is left."""
    web.answers["/crl"] = redirect("/crl")
    assert unknown(look(by_crl(web)), f"{web.base}/crl", "TooManyRedirects")
    assert len(web.asked) == 6


def test_only_http_is_asked(tmp_path: Path) -> None:
    """Other URLs are not opened, whatever is there."""
    crl = tmp_path / "crl"
    for url in (crl.as_uri(), "ldap://127.0.0.1/crl", "ftp://127.0.0.1/crl", "", "crl", "http:/x"):
        leaf = issue(LEAF_KEY, "leaf", ISSUER, (points(url), False))
        crl.write_bytes(revocation_list(leaf))
        assert unknown(look(leaf), repr(url), "neither http nor https")


@pytest.mark.parametrize(
    "url",
    ["http://", "http://[", "http://127.0.0.1:x/", "http://127.0.0.1:99999/", "http://a b/\x1b"],
)
def test_odd_url_is_unknown(web: Web, url: str) -> None:
    """It is shown so that it does nothing to the admin's terminal."""
    answer = look(issue(LEAF_KEY, "leaf", ISSUER, (points(url), False)))
    assert unknown(answer, repr(url), "cannot be reached")
    assert answer.why.isprintable()


def test_scheme_may_be_in_capitals(web: Web) -> None:
    """URL schemes have no case (RFC 3986 §3.1)."""
    url = f"{web.base}/crl".replace("http", "HTTP")
    leaf = issue(LEAF_KEY, "leaf", ISSUER, (points(url), False))
    web.answers["/crl"] = revocation_list(leaf)
    assert look(leaf) == Answer(True, "unspecified")


def test_proxy_is_asked(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the admin set one, as for certbot itself."""
    url = "http://crl.invalid/crl"
    leaf = issue(LEAF_KEY, "leaf", ISSUER, (points(url), False))
    monkeypatch.setenv("http_proxy", web.base)
    web.answers[url] = revocation_list(leaf)
    assert look(leaf) == Answer(True, "unspecified")


def test_https_is_asked(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a server with a certificate that this system trusts, and of no other."""
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    begin, end = datetime(2000, 1, 1), datetime(2049, 1, 1)
    server = issue(LEAF_KEY, "server", None, (names, False), since=begin, until=end)
    (tmp_path / "key.pem").write_bytes(pem_of(LEAF_KEY))
    (tmp_path / "cert.pem").write_bytes(pem(server))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    web.socket = context.wrap_socket(web.socket, server_side=True)
    url = f"https://127.0.0.1:{web.server_port}/crl"
    leaf = issue(LEAF_KEY, "leaf", ISSUER, (points(url), False))
    web.answers["/crl"] = revocation_list(leaf)
    assert unknown(look(leaf), url, "cannot be reached")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "cert.pem"))
    assert look(leaf) == Answer(True, "unspecified")


# Whatever is sent


def damaged(sound: bytes) -> st.SearchStrategy[bytes]:
    """The same with some bytes changed, lost or inserted."""
    changes = st.tuples(st.integers(0, len(sound)), st.integers(0, 3), st.binary(max_size=3))

    def change(made: list[tuple[int, int, bytes]]) -> bytes:
        content = sound
        for place, lost, put in made:
            content = content[:place] + put + content[place + lost :]
        return content

    return st.lists(changes, min_size=1, max_size=3).map(change)


def test_whatever_is_sent_nothing_is_believed_that_the_issuer_did_not_sign(web: Web) -> None:
    """Random bytes, and damaged CRLs: a stranger's "revoked", the issuer's own "not revoked"."""
    leaf = by_crl(web)
    forger = issue(LEAF_KEY, "Issuer", ROOT)
    crls = revocation_list(leaf, ca=forger), revocation_list(by_crl(web))

    @given(st.binary(max_size=300) | st.sampled_from(crls).flatmap(damaged))
    def check(crl: bytes) -> None:
        web.answers["/crl"] = crl
        assert look(leaf).revoked is not True

    check()
