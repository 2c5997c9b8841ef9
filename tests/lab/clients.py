"""TLS clients that take one type of certificate only, and refuse a key that is not pinned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography import x509

from lab.judges import curl_accepts
from lab.look import pin_of
from lab.processes import LabError, clean_env, program, run
from lab.waiting import HOST

# The signatures that a TLS 1.3 client asks for, the ciphers that one of TLS 1.2 offers.
SIGNATURES: Mapping[str, str] = {
    "rsa": "rsa_pss_rsae_sha256:rsa_pkcs1_sha256",
    "ecdsa": "ecdsa_secp256r1_sha256:ecdsa_secp384r1_sha384",
}
CIPHERS: Mapping[str, str] = {
    "rsa": "ECDHE-RSA-AES128-GCM-SHA256",
    "ecdsa": "ECDHE-ECDSA-AES128-GCM-SHA256",
}


def shown_pins(name: str, port: int, key_type: str) -> list[str]:
    """The pins of the keys that clients are shown that take one type only: with TLS 1.3, with 1.2."""
    restricted = (
        ["-tls1_3", "-sigalgs", SIGNATURES[key_type]],
        ["-tls1_2", "-cipher", CIPHERS[key_type]],
    )
    return [_shown(name, port, options) for options in restricted]


def accepts_one_of(name: str, port: int, key_type: str, pins: Iterable[str], root: Path) -> bool:
    """Whether a client reads the page that takes certificates of one type, for a key of *pins*."""
    pinned = ";".join(f"sha256//{pin}" for pin in pins)
    one_type = ("--tlsv1.2", "--tls-max", "1.2", "--ciphers", CIPHERS[key_type])
    return curl_accepts(name, port, root, pinned, *one_type)


def _shown(name: str, port: int, options: list[str]) -> str:
    command = [program("openssl"), "s_client", *options]
    command += ["-connect", f"{HOST}:{port}", "-servername", name]
    done = run(command, env=clean_env())
    begin = done.stdout.find("-----BEGIN CERTIFICATE-----")
    if begin < 0:
        raise LabError(f"no certificate was shown: {done}\n{done.output}")
    return pin_of(x509.load_pem_x509_certificate(done.stdout[begin:].encode()))
