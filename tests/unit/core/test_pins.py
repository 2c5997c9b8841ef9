"""Pins, and the header's syntax (RFC 7469 §2.1, §2.4)."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from certbot_pinkeep.core import pins
from certbot_pinkeep.core.errors import BadHeader, BadKey
from certbot_pinkeep.core.header import Header, read_header, write_header
from certbot_pinkeep.core.kinds import KeyKind
from certbot_pinkeep.core.pem import kind_of, load_private_key, quick_public_key, usable
from simulated.values import A, B, certificate, make_pem, pem_of, pin_of_key, uri_strategy

# openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64
KNOWN = {
    "ecdsa": (
        b"""-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEIzeOJnpWxZyAAlHXrWKTmzGk/PLn
UDgJ98ooh6aSoBqhKgxfALSNjpECBL+GK/+AfAItKG8U2FIX5SPmiyOvtA==
-----END PUBLIC KEY-----
""",
        "XRWqiz/taeXh2i280WezfQALdQGz4tWyZjnTRoYjmpY=",
        KeyKind("ecdsa", "secp256r1"),
    ),
    "rsa": (
        b"""-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA3pnVAgo2DhXAAk4Gm7Nv
XgXx0Dxj5jDOsCGMkvwX/pZf+0VQPtNEgTGeIo8oZ8EnbtwBzc07385a2mTTKbPf
UMEqgNks5lKY//gtlae4Y3ln0dG+3YHfnTyctWa8PkNgCmVWPRFztofJW6yNBviH
RwIpH8f2EIh9bwwpqIMyxWIYRX4L8R51/lgNbHAgPcnjn5Fnr/8iJU4Wh2abV2Gk
/7kTUQKd02pvtv0PVn+k3+OjspsQ1lfDWtcjEgzHMVBQKlo1lh7+295PcIZRGYx4
hHzzNmqJjJAYIbFQhJIR3TIJ7E7egYen74L6DFWy9gl7RAOfXh0l3v3Rhk6R7FmM
fQIDAQAB
-----END PUBLIC KEY-----
""",
        "TL0qKtjdfjPumPTd4jDABhHBkVsWS1Ydxj4GxZVk1MY=",
        KeyKind("rsa", "2048"),
    ),
}


@pytest.mark.parametrize("key_type", KNOWN)
def test_pin_is_what_openssl_computes(key_type: str) -> None:
    """The pin and kind of a known key are those that openssl tells."""
    pem, pin, kind = KNOWN[key_type]
    key = usable(serialization.load_pem_public_key(pem))
    assert (pins.pin_of(key), kind_of(key)) == (pin, kind)


def test_pin_of_certificate_is_that_of_its_key() -> None:
    """A certificate has the pin of its key; of several in a file, the first counts."""
    first, second = make_pem(), make_pem()
    chain = certificate(first, ["a.example"]) + certificate(second, ["b.example"])
    assert pins.pin_of_certificate(chain) == pin_of_key(first) != pin_of_key(second)


@pytest.mark.parametrize("text", ["", A[:-1], A[:-4], A + "=", A[:-1] + "!", "ä" * 44, A + "\n"])
def test_is_pin_refuses_what_is_no_digest(text: str) -> None:
    """Only the base64 of 32 bytes is a pin."""
    assert pins.is_pin(A) and not pins.is_pin(text)


def test_keys_that_certbot_cannot_make_are_refused() -> None:
    """Small RSA keys, odd curves and other algorithms: no backup of their kind could be made."""
    refused = [
        rsa.generate_private_key(65537, 1024).public_key(),
        ec.generate_private_key(ec.SECP256K1()).public_key(),
        ed25519.Ed25519PrivateKey.generate().public_key(),
    ]
    for key in refused:
        with pytest.raises(BadKey):
            usable(key)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_the_curves_of_certbot_are_usable(curve: ec.EllipticCurve) -> None:
    """Keys on each curve that certbot offers are loaded and told apart."""
    key = load_private_key(make_pem(curve))
    assert kind_of(key.public_key()) == KeyKind("ecdsa", curve.name)


def test_g7_errors_never_quote_a_key() -> None:
    """What cannot be read as a key is not quoted: it might be one."""
    secret = make_pem().replace(b"PRIVATE KEY", b"PRIVATE KEYS")
    with pytest.raises(BadKey) as caught:
        load_private_key(secret)
    shown = str(caught.value) + repr(caught.value.__cause__)
    assert not any(line.decode() in shown for line in secret.splitlines()[1:-1])


def test_encrypted_private_key_is_refused() -> None:
    """A key behind a passphrase cannot be used by an unattended renewal."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = pem_of(key, b"secret")
    assert load_private_key(pem_of(key))
    with pytest.raises(BadKey, match="unencrypted"):
        load_private_key(pem)


@given(
    listed=st.lists(st.binary(min_size=32, max_size=32), max_size=5),
    max_age=st.integers(0, 10**12),
    include_subdomains=st.booleans(),
    report_uri=st.none() | uri_strategy(),
)
def test_header_round_trip(
    listed: list[bytes], max_age: int, include_subdomains: bool, report_uri: str | None
) -> None:
    """What is written is read again as the same header, the order of pins included."""
    encoded = tuple(base64.b64encode(digest).decode() for digest in listed)
    header = Header(encoded, max_age, include_subdomains, report_uri)
    assert read_header(write_header(header)) == header


def test_header_is_written_as_the_contract_shows_it() -> None:
    """The directives stand in the order of the contract, pins and URI quoted, the rest not."""
    header = Header((A, B), 5184000, True, "https://report.example/r")
    assert write_header(header) == (
        f'pin-sha256="{A}"; pin-sha256="{B}"; max-age=5184000; includeSubDomains; '
        'report-uri="https://report.example/r"'
    )


@pytest.mark.parametrize(
    "value",
    [
        f'pin-sha256="{A}"; max-age=5; max-age=5',
        "max-age=5; includeSubDomains; includesubdomains",
        'max-age=5; report-uri="https://a.example"; Report-URI="https://b.example"',
        "max-age=5; strange=1; strange=1",
        'pin-sha256="AAAA"; max-age=5',
        f'pin-sha256="{A[:-1]}"; max-age=5',
        'pin-sha256="not base64 at all, but of some length ......"; max-age=5',
        "pin-sha256; max-age=5",
        f'pin-sha256="{A}"',
        "",
        "max-age",
        "max-age=",
        "max-age=-1",
        "max-age=5s",
        "max-age=\u0665",
        'max-age="5',
        "max-age=5 includeSubDomains",
        "max-age=5; =1",
        "max-age=5, includeSubDomains",
        'max-age="\N{FULLWIDTH DIGIT FIVE}"',
    ],
)
def test_header_that_rfc_7469_forbids_is_rejected(value: str) -> None:
    """Twice-given directives, pins that are none, a missing max-age, broken syntax (§2.1)."""
    with pytest.raises(BadHeader):
        read_header(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f'PIN-SHA256="{A}"; Max-Age=5', Header((A,), 5)),
        (f'pin-sha256="{A}";max-age=5;', Header((A,), 5)),
        (f' pin-sha256 = "{A}" ;\tmax-age = 5 ', Header((A,), 5)),
        (f'max-age="5"; pin-sha256="{B}"; pin-sha256="{A}"', Header((B, A), 5)),
        (f'pin-sha256="{A}"; pin-sha512="x"; later; new=1; max-age=5', Header((A,), 5)),
        (f'; pin-sha256="{A}"; ;\t;max-age=5;;', Header((A,), 5)),
        (f'pin-sha512="x"; pin-sha512="y"; pin-sha256="{A}"; max-age=5', Header((A,), 5)),
        ("max-age=5; INCLUDESUBDOMAINS", Header((), 5, True)),
        (f'pin-sha256="{A}"; pin-sha256="{A}"; max-age=0', Header((A, A), 0)),
    ],
)
def test_header_is_read_as_a_user_agent_reads_it(value: str, expected: Header) -> None:
    """Names in any case, unknown and empty directives ignored, any order, optional blanks and quotes."""
    assert read_header(value) == expected


def der(tag: int, content: bytes) -> bytes:
    """A value in DER (X.690 §8.1, §10.1)."""
    size = len(content)
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return (
        bytes([tag])
        + (bytes([size]) if size < 128 else bytes([0x80 + len(octets)]) + octets)
        + content
    )


def test_g1_rsa_key_with_a_foreign_modulus_is_not_whole() -> None:
    """Its primes are not those of the public key that it names (RFC 8017 §3.2)."""
    key = rsa.generate_private_key(65537, 2048).private_numbers()
    for more, whole in ((0, True), (2, False)):
        named = (0, key.public_numbers.n + more, 65537, key.d, key.p, key.q)
        numbers = (*named, key.dmp1, key.dmq1, key.iqmp)
        parts = b"".join(der(2, one.to_bytes(one.bit_length() // 8 + 1, "big")) for one in numbers)
        body = base64.encodebytes(der(0x30, parts)).decode()
        pem = f"-----BEGIN RSA PRIVATE KEY-----\n{body}-----END RSA PRIVATE KEY-----\n".encode()
        if whole:
            assert pins.pin_of(quick_public_key(pem))
        else:
            with pytest.raises(BadKey):
                quick_public_key(pem)
