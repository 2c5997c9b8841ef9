"""Asking the CA whether a certificate is revoked: by the CRLs that the certificate names.

The rules:

* The CRLs are asked in turn (RFC 5280 §4.2.1.13). The first definite answer decides; nothing else
  that a server sends, or fails to send, is more than a reason to ask the next one.
* Nothing is believed that the issuer did not sign (RFC 5280 §6.3.3). MD5 and SHA-1 are no
  signatures.
* A CRL is the issuer's own and complete for the certificate: no delta, not indirect, and not for some reasons
  only. Such a CRL is not for other distribution points or kinds of certificates, and has no unknown critical
  extensions (RFC 5280 §5.2, §5.3).
* "Not revoked" counts while the CRL is current: until its next update, which it must name (RFC 5280
  §5.1.2.5). "Revoked" counts for ever. That an expired certificate is on no CRL says nothing
  (RFC 5280 §5).
* Only http and https are asked, also after a redirect. All questions together have a time limit, and each has
  an equal share of what is left. Every CRL has a limit of size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import requests
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import SignatureAlgorithmOID

from certbot_pinkeep import __version__
from certbot_pinkeep.adapters.threads import in_time
from certbot_pinkeep.adapters.tls import Deadline
from certbot_pinkeep.core import times
from certbot_pinkeep.core.pem import load_certificate

#: Seconds that all questions together may take.
TIME_LIMIT = 10
#: Bytes that a CRL may have.
LARGEST = 32 << 20
# Small: a server that sends byte by byte is left after the next one.
_CHUNK = 1 << 10
_MOST_REDIRECTS = 5
_REFUSED_HASHES = ("md5", "sha1")
# How far the CA's clock may be ahead of ours.
_CLOCK_SKEW = timedelta(minutes=5)
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.S)


@dataclass(frozen=True)
class Answer:
    """What the CA says of a certificate.

    :ivar revoked: ``None``: unknown
    :ivar reason: the reason's name in RFC 5280 §5.3.1, e.g. ``keyCompromise``; ``unspecified`` if none is
        given; empty if it is not revoked, or that is unknown
    :ivar why: why it is unknown, as a part of a sentence; empty if the certificate names no CRL
    """

    revoked: bool | None
    reason: str = ""
    why: str = ""

    @property
    def compromised(self) -> bool:
        """Whether the certificate's key is said to be compromised; not the CA's or another one."""
        return self.reason == x509.ReasonFlags.key_compromise.value


class _Unknown(Exception):
    """The question is not answered; ``str()`` is what the one that was asked did instead."""


@dataclass(frozen=True)
class _Question:
    certificate: x509.Certificate
    issuer: x509.Certificate
    now: datetime


#: Where a CRL is, and the distribution point that names it.
_Source = tuple[str, x509.DistributionPoint]


def look(
    certificate_pem: bytes, chain_pem: bytes, now: datetime, time_limit: float = TIME_LIMIT
) -> Answer:
    """Ask whether a certificate is revoked. Whatever fails makes it unknown, never an error.

    :param chain_pem: the certificates of the CA, the issuer's among them
    :param time_limit: seconds that all questions together may take
    """
    deadline = Deadline(time_limit)
    try:
        certificate = load_certificate(certificate_pem)
        sources = list(_crls(certificate))
    except Exception as error:  # whatever a damaged file makes the library raise
        return Answer(None, why=f"the certificate cannot be read ({type(error).__name__})")
    if not sources:
        return Answer(None)
    issuer = _issuer(certificate, chain_pem)
    if issuer is None:
        return Answer(None, why="the certificate's chain does not hold its issuer's certificate")
    return _ask_all(sources, _Question(certificate, issuer, now), deadline)


def names_crl(certificate_pem: bytes) -> bool:
    """Say whether a certificate names a CRL. Whatever cannot be read names none."""
    try:
        return any(True for _ in _crls(load_certificate(certificate_pem)))
    except Exception:  # whatever a damaged file makes the library raise
        return False


def _ask_all(sources: list[_Source], question: _Question, deadline: Deadline) -> Answer:
    failures = []
    for number, (url, point) in enumerate(sources):
        try:
            crl = _fetch(url, Deadline(deadline.left() / (len(sources) - number)))
            return _read_crl(crl, point, question)
        except _Unknown as error:
            why = str(error)
        except TimeoutError:
            why = "did not answer in time"
        except Exception as error:  # whatever a stranger's answer makes the library raise
            why = f"sent a CRL that cannot be read ({type(error).__name__})"
        failures.append(f"{url!a} {why}")
    return Answer(None, why="; ".join(failures))


# Whom to ask


def _crls(certificate: x509.Certificate) -> Iterator[_Source]:
    """Yield the CRLs that a certificate names (RFC 5280 §4.2.1.13)."""
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return
    for point in points:
        for name in point.full_name or ():
            if isinstance(name, x509.UniformResourceIdentifier):
                yield name.value, point


def _issuer(certificate: x509.Certificate, chain_pem: bytes) -> x509.Certificate | None:
    for pem in _PEM.findall(chain_pem):
        try:
            issuer = load_certificate(pem)
            if _is_issued(certificate, issuer):
                return issuer
        except Exception:  # one that is damaged: passed over
            continue
    return None


# What is signed


_Signed = x509.Certificate | x509.CertificateRevocationList


def _is_issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    return certificate.issuer == issuer.subject and _is_signed(
        certificate, certificate.tbs_certificate_bytes, issuer
    )


def _is_signed(signed: _Signed, body: bytes, signer: x509.Certificate) -> bool:
    """Return whether the signature is the signer's, over *body*, and of a kind that CAs still make."""
    key = signer.public_key()
    try:
        digest = signed.signature_hash_algorithm
        if digest is None or digest.name in _REFUSED_HASHES:
            return False
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signed.signature, body, _padding(signed, digest), digest)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signed.signature, body, ec.ECDSA(digest))
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _padding(signed: _Signed, digest: hashes.HashAlgorithm) -> padding.PSS | padding.PKCS1v15:
    if signed.signature_algorithm_oid == SignatureAlgorithmOID.RSASSA_PSS:
        return padding.PSS(padding.MGF1(digest), padding.PSS.AUTO)
    return padding.PKCS1v15()


def _counts(signed: _Signed, since: str, until: str, now: datetime) -> bool:
    """Say whether *now* is within the two times of these names; one that is missing is never."""
    begin, end = times.of(signed, since), times.of(signed, until)
    return begin is not None and end is not None and begin - _CLOCK_SKEW <= now <= end


# CRLs


def _read_crl(der: bytes, point: x509.DistributionPoint, question: _Question) -> Answer:
    """Look for the certificate on a CRL (RFC 5280 §6.3.3).

    :raises _Unknown: if that gives no definite answer
    """
    crl = x509.load_der_x509_crl(der)
    if crl.issuer != question.issuer.subject:
        raise _Unknown("sent a CRL of another issuer")
    if not _may_sign_crls(question.issuer) or not _is_signed(
        crl, crl.tbs_certlist_bytes, question.issuer
    ):
        raise _Unknown("sent a CRL that the certificate's issuer did not sign")
    _check_scope(crl, point)
    entry = crl.get_revoked_certificate_by_serial_number(question.certificate.serial_number)
    reason = _reason(entry) if entry is not None else x509.ReasonFlags.remove_from_crl
    if reason is not x509.ReasonFlags.remove_from_crl:
        return Answer(True, reason.value)
    if not _counts(crl, "last_update", "next_update", question.now):
        raise _Unknown("sent a CRL that is not valid yet, or out of date")
    if not _counts(question.certificate, "not_valid_before", "not_valid_after", question.now):
        raise _Unknown("lists only certificates that are valid, and this one is not")
    return Answer(False)


def _may_sign_crls(issuer: x509.Certificate) -> bool:
    try:
        return issuer.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except x509.ExtensionNotFound:
        return True


def _check_scope(crl: x509.CertificateRevocationList, point: x509.DistributionPoint) -> None:
    """See that a CRL is complete for the certificate (RFC 5280 §5.2, §6.3.3 (b)).

    :raises _Unknown: if it is not, or that cannot be told
    """
    if point.reasons is not None:
        raise _Unknown("has a CRL for some reasons only")
    for extension in crl.extensions:
        if isinstance(extension.value, x509.DeltaCRLIndicator):
            raise _Unknown("sent a delta CRL")
        if isinstance(extension.value, x509.IssuingDistributionPoint):
            _check_distribution(extension.value, point)
        elif extension.critical and not isinstance(
            extension.value, (x509.AuthorityKeyIdentifier, x509.CRLNumber)
        ):
            raise _Unknown("sent a CRL with a critical extension that is unknown here")


def _check_distribution(
    found: x509.IssuingDistributionPoint, point: x509.DistributionPoint
) -> None:
    if found.indirect_crl:
        raise _Unknown("sent an indirect CRL")
    if found.only_some_reasons is not None:
        raise _Unknown("sent a CRL for some reasons only")
    if found.only_contains_ca_certs or found.only_contains_attribute_certs:
        raise _Unknown("sent a CRL for another kind of certificates")
    names = point.full_name or ()
    if found.relative_name is not None or (
        found.full_name is not None and not any(name in names for name in found.full_name)
    ):
        raise _Unknown("sent a CRL for another distribution point")


def _reason(entry: x509.RevokedCertificate) -> x509.ReasonFlags:
    reason = x509.ReasonFlags.unspecified
    for extension in entry.extensions:
        if isinstance(extension.value, x509.CRLReason):
            reason = extension.value.reason
        elif extension.critical:
            raise _Unknown("sent a CRL entry with a critical extension that is unknown here")
    return reason


# HTTP


class _Session(requests.Session):
    """A session that reads no body of a redirect: it has no limit of size."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return where a redirect leads to."""
        target: str | None = super().get_redirect_target(resp)
        if target:
            resp.close()
        return target


def _fetch(url: str, deadline: Deadline) -> bytes:
    """Return what is at *url*.

    :raises _Unknown: if nothing usable is there
    :raises TimeoutError: if it does not come in time
    """
    if not url.lower().startswith(("http://", "https://")):
        raise _Unknown("is neither http nor https")
    try:
        # Nothing else ends the look-up of a name, or the reading of headers that come byte by byte.
        return in_time(partial(_download, url, deadline), deadline.left())
    except (_Unknown, TimeoutError):
        raise
    except Exception as error:
        raise _Unknown(f"cannot be reached: {_cause(error)}") from error


def _download(url: str, deadline: Deadline) -> bytes:
    headers = {"User-Agent": f"certbot-pinkeep/{__version__}", "Accept-Encoding": "identity"}
    content = bytearray()
    with _Session() as session:
        session.max_redirects = _MOST_REDIRECTS
        with session.get(url, headers=headers, stream=True, timeout=deadline.left()) as response:
            if response.status_code != 200:
                raise _Unknown(f"answered with the status {response.status_code}")
            # What is sent packed is not unpacked: it may have any size then.
            for chunk in response.raw.stream(_CHUNK, decode_content=False):
                content += chunk
                if len(content) > LARGEST:
                    raise _Unknown(f"sent more than {LARGEST} bytes")
                deadline.left()
    return bytes(content)


def _cause(error: BaseException) -> str:
    """Return why, in the system's words if it said something: they are at the bottom of a chain."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        inner = inner.__cause__ or inner.__context__
    return type(error).__name__
