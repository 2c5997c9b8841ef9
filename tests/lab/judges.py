"""Programs that understand pins, and had no part in making them: they accept a site, or refuse it."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path

from lab.processes import LabError, clean_env, program, run
from lab.waiting import HOST

# What openssl says if no TLSA record is for the key that is served.
NO_MATCH = "no matching dane tlsa records"


def curl_accepts(name: str, port: int, root: Path, pinned: str, *more: str) -> bool:
    """Whether curl reads the page, given the value of ``--pinnedpubkey``; not: it exits with 90."""
    command = [program("curl"), "--disable", "--silent", "--show-error", "--output", "/dev/null"]
    command += ["--resolve", f"{name}:{port}:{HOST}", "--cacert", str(root)]
    done = run(
        [*command, *more, "--pinnedpubkey", pinned, f"https://{name}:{port}/"], env=clean_env()
    )
    if done.returncode not in (0, 90):
        raise LabError(f"neither read nor refused: {done}\n{done.output}")
    return done.returncode == 0


def dane_accepts(name: str, port: int, records: Iterable[str]) -> bool:
    """Whether openssl accepts the site's key for these TLSA records, in presentation form."""
    command = [program("openssl"), "s_client", "-connect", f"{HOST}:{port}", "-servername", name]
    command += ["-dane_tlsa_domain", name, "-verify_return_error"]
    for record in records:
        command += ["-dane_tlsa_rrdata", record.partition(" IN TLSA ")[2]]
    done = run(command, env=clean_env())
    accepted = done.returncode == 0 and "Verification: OK" in done.output
    if not accepted and NO_MATCH not in done.output.lower():
        raise LabError(f"neither accepted nor refused: {done}\n{done.output}")
    return accepted


def danetool_record(name: str, port: int, public_key: Path) -> str:
    """The digest that danetool puts into the TLSA record of a key, as a pin."""
    command = [program("danetool"), "--tlsa-rr", "--host", name, "--port", str(port)]
    done = run([*command, "--load-pubkey", str(public_key)], env=clean_env()).check()
    owner, _, data = done.stdout.strip().partition(" IN TLSA ")
    usage, selector, matching, digest = data.strip("() ").split()
    if owner != f"_{port}._tcp.{name}." or [usage, selector, matching] != ["03", "01", "01"]:
        raise LabError(f"another record than was asked for: {done.stdout}")
    return base64.b64encode(bytes.fromhex(digest)).decode()


def is_valid(document: Path, schema: Path) -> bool:
    """Whether xmllint finds that an XML document is as its RELAX NG schema has it."""
    done = run([program("xmllint"), "--noout", "--relaxng", str(schema), str(document)])
    if done.returncode not in (0, 3):
        raise LabError(f"neither valid nor not: {done}\n{done.output}")
    return done.returncode == 0
