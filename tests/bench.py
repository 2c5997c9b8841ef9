"""What pinning costs. Not a test: nothing here passes or fails.

Seconds depend on the machine, and on what else it does; ratios within one run do not.

* How much longer importing certbot takes with the plugin.
* ``certbot renew`` over 1,000 lineages of which none is due: none of them pinned, all enrolled under pinkeep,
  and all enrolled under another installer; in turn, now the one first and now the other. It is not the
  first run, nor one after a change: what was looked at before is not looked at again. Once with a keyring
  for each of the lineages, and once with one keyring for all of them.
* ``certbot-pinkeep status`` over them, as text and as ``--json``.
* What a renewal of 200 lineages on one keyring costs, each, beside one lineage that is alone on its
  keyring: the handover, bringing it up to date, and its part of the one publication. What is measured is
  pinkeep's own processor time: hosts are not looked at, because that is a wait.
* ``certbot-pinkeep check`` over 50 hosts of one Apache, each with a keyring of its own, over TLS and
  plain HTTP.
* What the adoption and the renewal of a lineage cost beside 250, 500, 1,000 and 2,000 keyrings, in one run;
  processor time, too.
* A look at the records of four ports on two name servers, compared with those of one port. As root only: they
  run in a namespace.
* A look at four ports of Postfix and Dovecot, each with a key of each type. As root only, too.
* A full look at one lineage with ten years of weekly changes of its policy behind it, and with none.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

from certbot_pinkeep.adapters import clock
from simulated import no_network as no_network
from simulated.workflow import take_turn

sys.path.insert(0, str(Path(__file__).parent))

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from certbot_pinkeep.adapters import lineage, ports
from certbot_pinkeep.adapters.lineage import Live
from certbot_pinkeep.core import options
from certbot_pinkeep.core.options import OPTIONS
from certbot_pinkeep.core.tlsa import parse_ports, ports_of
from certbot_pinkeep.storage import settings
from certbot_pinkeep.workflow import issue, move, run
from certbot_pinkeep.workflow.issue_request import IssueRequest
from dane.world import FIRST, OLD, SECOND, Network, example, line
from lab import Apache, VirtualHost, mail
from lab.namespace import Namespace
from lab.waiting import HOST
from simulated.workflow import Workflow

MAIN = "import sys; from certbot.main import main; sys.exit(main())"
COMMAND_MAIN = "import sys; from certbot_pinkeep.cli.main import main; sys.exit(main())"
RENEWAL = """\
version = 2.1.0
archive_dir = {config}/archive/{name}
cert = {config}/live/{name}/cert.pem
privkey = {config}/live/{name}/privkey.pem
chain = {config}/live/{name}/chain.pem
fullchain = {config}/live/{name}/fullchain.pem
[renewalparams]
authenticator = standalone
installer = pinkeep
reuse_key = True
key_type = ecdsa
server = http://127.0.0.1:9/directory
[acme_renewal_info]
ari_retry_after = 2100-01-01T00:00:00
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lineages", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--keyrings", type=int, default=2000)
    asked = parser.parse_args()
    bench_import(asked.rounds * 3)
    with tempfile.TemporaryDirectory(prefix="pinkeep-bench-") as folder:
        bench_renew(Path(folder), asked.lineages, asked.rounds)
        bench_status(Path(folder), asked.lineages, asked.rounds)
    with tempfile.TemporaryDirectory(prefix="pinkeep-bench-") as folder:
        bench_renew(Path(folder), asked.lineages, asked.rounds, shared=True)
    alone = None
    for count in (1, 200):
        with tempfile.TemporaryDirectory(prefix="pinkeep-bench-") as folder:
            alone = bench_shared(Path(folder), count, 200 // count, alone)
    with tempfile.TemporaryDirectory(prefix="pinkeep-bench-") as folder:
        bench_growth(Path(folder), [asked.keyrings // part for part in (8, 4, 2, 1)])
    with tempfile.TemporaryDirectory(prefix="pinkeep-bench-") as folder:
        bench_ledger(Path(folder), asked.rounds * 5)
    with tempfile.TemporaryDirectory(prefix="pinkeep-bench-") as folder:
        bench_check(Path(folder), 50, asked.rounds)
    if os.geteuid() == 0:
        with tempfile.TemporaryDirectory(prefix="pinkeep-bench-") as folder:
            bench_zone(Path(folder), asked.rounds)
        with tempfile.TemporaryDirectory(prefix="pinkeep-bench-") as folder:
            Path(folder).chmod(0o755)
            bench_ports(Path(folder), asked.rounds)


def bench_import(rounds: int) -> None:
    """The import of certbot's main module, alone and with the plugin."""
    code = (
        "import time; import certbot.main; a = time.perf_counter(); "
        "import certbot_pinkeep.installer; print(time.perf_counter() - a)"
    )
    call = [sys.executable, "-c", code]
    added = [
        float(subprocess.run(call, check=True, capture_output=True, text=True).stdout)
        for _ in range(rounds)
    ]
    print(f"import: the plugin adds {statistics.median(added) * 1000:.1f} ms (median of {rounds})")


def bench_renew(folder: Path, count: int, rounds: int, *, shared: bool = False) -> None:
    """``certbot renew`` with nothing due: none pinned, or all, under pinkeep or another installer."""
    began = time.perf_counter()
    if shared:
        names = [f"site-{number:04d}.test" for number in range(count)]
        for name in names:
            make_lineage(folder / "config", name)
        renew_all(folder, names, renewed=False)
    else:
        adopt(folder, count)
    whose = "one keyring for all of them" if shared else "a keyring for each"
    spent = (time.perf_counter() - began) / count * 1000
    print(f"adoption, {whose}: {spent:.1f} ms per lineage, once")
    renew(folder, "pinkeep")  # the first run leaves the notes
    plain = (
        folder / "plain"
    )  # nothing is pinned there: what is pinned, pinkeep guards under any installer
    for number in range(count):
        make_lineage(plain / "config", f"site-{number:04d}.test")
    cases = {"null": (plain, "null"), "pinkeep": (folder, "pinkeep"), "another": (folder, "null")}
    times: dict[str, list[float]] = {case: [] for case in cases}
    for number in range(rounds):
        for case in sorted(cases, reverse=bool(number % 2)):
            times[case].append(renew(*cases[case]))
    print(
        f"renew, {count} lineages, {whose}, none due nor changed; seconds of processor time (median of "
        f"{rounds}):"
    )
    for case, seconds in times.items():
        ratios = [one / null for one, null in zip(seconds, times["null"], strict=True)]
        print(
            f"  {case} installer: {statistics.median(seconds):.2f} s; ratio {statistics.median(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f})"
        )


def bench_status(folder: Path, count: int, rounds: int) -> None:
    """The whole command over the keyrings of :func:`bench_renew`; as a table, and for scripts."""
    for words in ([], ["--json"]):
        call = [sys.executable, "-c", COMMAND_MAIN, "status", *words]
        call += [f"--{name}-dir={folder / name}" for name in ("config", "work", "logs")]
        times = []
        for _ in range(rounds):
            began = time.perf_counter()
            subprocess.run(call, capture_output=True, check=True)
            times.append(time.perf_counter() - began)
        told = " ".join(["status", *words])
        print(f"{told}, {count} keyrings: {statistics.median(times):.2f} s (median of {rounds})")


def bench_shared(
    folder: Path, count: int, times_over: int, alone: list[float] | None
) -> list[float]:
    """Runs that renew all lineages of one keyring; the first two roll their keys over.

    :param alone: what this returned for a lineage that is alone
    :returns: the milliseconds a lineage
    """
    names = [f"site-{number:04d}.test" for number in range(count)]
    for name in names:
        make_lineage(folder / "config", name)
    times = [
        renew_all(folder, names, renewed=number > 0) for number in range(min(times_over, 20) + 4)
    ]
    joined, followed, *same = (seconds / count * 1000 for seconds in times)
    found = [joined, followed, statistics.median(same)]
    print(f"keyring of {count}, processor time of a lineage:")
    for number, what in enumerate(("joins", "follows to the shared key", "is renewed")):
        ratio = f"; {found[number] / alone[number]:.2f} times that of one alone" if alone else ""
        print(f"  {what}: {found[number]:.2f} ms{ratio}")
    return found


def renew_all(folder: Path, names: list[str], renewed: bool) -> float:
    """Seconds of processor time that pinkeep takes for one run, without certbot's and the CA's part."""
    values: dict[str, object] = {"configtest-command": "true", "reload-command": "true"}
    values["keyring"] = "shared"
    chosen = options.parse(values, "shared")
    one = run.Run(str(folder / "config"), str(folder / "work"))
    seconds = 0.0
    for name in names:
        began = time.process_time()
        if renewed:
            seen = look(folder, name)
            one.workspace.note_pinned(name, pinned=True)
            request = IssueRequest(name, "shared", seen.names, clock.now(), seen, chosen=chosen)
            handed = issue.handover(one.workspace, request)
            seconds += time.process_time() - began
            reissue(folder / "config", name, handed.key_pem)
            began = time.process_time()
        take_turn(one, look(folder, name), values, chosen, pinned_before=renewed, issued=renewed)
        seconds += time.process_time() - began
    began = time.process_time()
    one.finish()
    return seconds + time.process_time() - began


def look(folder: Path, name: str) -> Live:
    """What is live."""
    live = folder / "config" / "live" / name
    return lineage.look(name, str(live / "cert.pem"), str(live / "privkey.pem"), must_staple=False)


def bench_check(folder: Path, count: int, rounds: int) -> None:
    """The whole command over sound sites; what it says of them is what is printed if it is not that."""
    adopt(folder, count)
    lives = sorted((folder / "config" / "live").iterdir())
    for live in lives:
        (live / "privkey.pem").chmod(0o600)
    roots = folder / "roots.pem"
    roots.write_bytes(b"".join((live / "cert.pem").read_bytes() for live in lives))
    headers = folder / "config" / "pinkeep" / "apache"
    sites = [VirtualHost((live.name,), (live,), headers / f"{live.name}.conf") for live in lives]
    with Apache(folder / "apache", sites) as server:
        call = [sys.executable, "-c", COMMAND_MAIN, "check", f"--ca-file={roots}"]
        call += [
            f"--connect={HOST}:{server.https_port}",
            f"--connect-http={HOST}:{server.http_port}",
        ]
        call += [f"--{name}-dir={folder / name}" for name in ("config", "work", "logs")]
        times = []
        for _ in range(rounds):
            began = time.perf_counter()
            done = subprocess.run(call, capture_output=True, text=True, check=False)
            times.append(time.perf_counter() - began)
    print(
        f"check, {count} hosts: {statistics.median(times):.2f} s (median of {rounds}): "
        f"{done.stdout.splitlines()[0]}"
    )


def bench_zone(folder: Path, rounds: int) -> None:
    """A signed zone on two name servers, which answer at once; one port, or four, in turn."""
    ports = (25, 465, 587, 993)
    zone = example(*(line(OLD, f"_{port}._tcp.mail.example.test.") for port in ports))
    times: dict[int, list[float]] = {1: [], len(ports): []}
    with ExitStack() as running:
        world = Network(folder, running)
        key = world.signer.make(zone.origin)
        file = world.signer.sign(zone, key)
        for address in (FIRST, SECOND):
            world.serve(address, (zone, file))
        world.open(zone, ds=[world.signer.ds(key)])
        for _ in range(rounds):
            for count, spent in times.items():
                began = time.perf_counter()
                looks = world.look(*ports[:count])
                spent.append(time.perf_counter() - began)
                assert all(one.agreed and one.security.valid for one in looks)
    one, all_ = (statistics.median(spent) for spent in times.values())
    print(
        f"zone, two name servers and {len(ports)} ports: {all_:.2f} s (median of {rounds}), "
        f"{all_ / one:.1f} times that of one port"
    )


def bench_ports(folder: Path, rounds: int) -> None:
    """Postfix and Dovecot with a key of each type: nine connections to each of four ports."""
    numbers, times = (25, 465, 587, 993), []
    with ExitStack() as running:
        ns = running.enter_context(Namespace())
        files = [mail.self_signed(folder / kind, "mail.test", kind) for kind in ("ecdsa", "rsa")]
        running.enter_context(mail.Postfix(ns, folder / "postfix", files))
        running.enter_context(mail.Dovecot(ns, folder / "dovecot", files))
        listed = ports_of(parse_ports(",".join(map(str, numbers))), ["mail.test"])
        for _ in range(rounds):
            began = time.perf_counter()
            shown = ns.call(ports.look, listed, addresses={"mail.test": [HOST]})
            times.append(time.perf_counter() - began)
            assert [len(one.pins) for one in shown] == [2] * len(numbers), shown
    print(f"ports, {len(numbers)} of them: {statistics.median(times):.2f} s (median of {rounds})")


def bench_growth(folder: Path, counts: list[int]) -> None:
    """A lineage is adopted and renewed beside ever more keyrings, in a run that has them all."""
    one = run.Run(str(folder / "config"), str(folder / "work"))
    print("processor time of a lineage beside others, each with a keyring of its own:")
    first: list[float] = []
    before = 0
    for count in counts:
        seconds = sum(
            adopt_one(folder, one, f"site-{number:05d}.test") for number in range(before, count)
        )
        began = time.process_time()
        one.finish()
        adopted = (seconds + time.process_time() - began) / (count - before)
        found = [adopted, hand_over(folder, f"site-{count - 1:05d}.test")]
        first = first or found
        before = count
        told = [
            f"{what} {now * 1000:.1f} ms (ratio {now / then:.2f})"
            for what, now, then in zip(("adopted", "handed a CSR"), found, first, strict=True)
        ]
        print(f"  {count}: {', '.join(told)}")


def adopt_one(folder: Path, one: run.Run, name: str) -> float:
    """Seconds of processor time that the turn of a new lineage takes in a run."""
    make_lineage(folder / "config", name)
    given: dict[str, object] = dict.fromkeys(OPTIONS)
    given |= {"configtest-command": "true", "reload-command": "true"}
    began = time.process_time()
    seen = look(folder, name)
    by_host = partial(move.keyring_at, one.workspace, seen.names, clock.now())
    values = settings.values(one.workspace.store, name, given, {}, by_host)
    take_turn(one, seen, values, options.parse(values, name))
    return time.process_time() - began


def hand_over(folder: Path, name: str) -> float:
    """Seconds of processor time that a handover takes, once a run has read what is on record."""
    one = run.Run(str(folder / "config"), str(folder / "work"))
    times = []
    for _ in range(21):
        began = time.process_time()
        seen = look(folder, name)
        request = IssueRequest(name, name, seen.names, clock.now(), seen)
        issue.handover(one.workspace, request)
        times.append(time.process_time() - began)
    return statistics.median(times[1:])


def bench_ledger(folder: Path, rounds: int) -> None:
    """A run that looks at everything, after ten years of changes and after none."""
    names = ("young.test", "old.test")
    lives = {name: make_lineage(folder / "config", name) for name in names}
    now = clock.now()
    weeks = 520
    keep(folder, lives["young.test"], 5184000, now)
    for week in range(weeks):
        keep(folder, lives["old.test"], 5184000 + week % 2, now - timedelta(weeks=weeks - week))
    keep(folder, lives["old.test"], 5184000, now)
    ratios = []
    for _ in range(rounds):
        young, old = (keep(folder, lives[name], 5184000, now) for name in names)
        ratios.append(old / young)
    state = Workflow(str(folder / "config"), str(folder / "work")).store.load("old.test")
    assert state is not None
    print(
        f"ledger: ten years of weekly changes leave {len(state.ledger.entries)} policies; a full "
        f"look takes {statistics.median(ratios):.2f} times as long (median of {rounds} pairs)"
    )


def keep(folder: Path, live: Path, max_age: int, now: datetime) -> float:
    """Seconds that bringing a lineage up to date takes."""
    values: dict[str, object] = {"configtest-command": "true", "reload-command": "true"}
    values["max-age"] = max_age
    chosen = options.parse(values, live.name)
    seen = lineage.look(
        live.name, str(live / "cert.pem"), str(live / "privkey.pem"), must_staple=False
    )
    workflow = Workflow(str(folder / "config"), str(folder / "work"))
    began = time.perf_counter()
    workflow.keep(seen, chosen, now)
    return time.perf_counter() - began


def renew(folder: Path, installer: str) -> float:
    """Seconds of processor time that one ``certbot renew`` takes."""
    folders = [f"--{name}-dir={folder / name}" for name in ("config", "work", "logs")]
    call = [sys.executable, "-c", MAIN, "renew", "-q", "--installer", installer, *folders]
    began = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    subprocess.run(call, check=True, capture_output=True, env={**os.environ, "HOME": str(folder)})
    return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - began


def adopt(folder: Path, count: int) -> None:
    """Lineages as certbot keeps them, each adopted."""
    workflow = Workflow(str(folder / "config"), str(folder / "work"))
    for number in range(count):
        name = f"site-{number:04d}.test"
        live = make_lineage(folder / "config", name)
        values: dict[str, object] = dict.fromkeys(OPTIONS)
        values |= {"configtest-command": "true", "reload-command": "true"}
        seen = lineage.look(
            name, str(live / "cert.pem"), str(live / "privkey.pem"), must_staple=False
        )
        workflow.keep(seen, options.parse(values, name), clock.now())


def self_signed(key: ec.EllipticCurvePrivateKey, name: str) -> bytes:
    """A certificate that is valid for a year."""
    now = datetime.now(timezone.utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def reissue(config: Path, name: str, key_pem: bytes) -> None:
    """Put a new certificate live."""
    key = serialization.load_pem_private_key(key_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    live, made = config / "live" / name, self_signed(key, name)
    for part in ("cert", "fullchain"):
        (live / f"{part}.pem").write_bytes(made)
    (live / "privkey.pem").write_bytes(key_pem)


def make_lineage(config: Path, name: str) -> Path:
    """A lineage with a self-signed certificate that is valid for a year; its live folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = self_signed(key, name)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    archive, live = config / "archive" / name, config / "live" / name
    for made in (archive, live, config / "renewal"):
        made.mkdir(parents=True, exist_ok=True)
    contents = {"cert": certificate, "chain": certificate, "privkey": private}
    for kind, content in {**contents, "fullchain": certificate * 2}.items():
        (archive / f"{kind}1.pem").write_bytes(content)
        (live / f"{kind}.pem").symlink_to(f"../../archive/{name}/{kind}1.pem")
    (config / "renewal" / f"{name}.conf").write_text(RENEWAL.format(config=config, name=name))
    return live


if __name__ == "__main__":
    main()
