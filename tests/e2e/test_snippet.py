"""At which hosts a real Apache sends the header of a snippet, wherever the snippet is included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from certbot_pinkeep.carriers import apache
from certbot_pinkeep.core.keyring import Key, Keyring, Member
from certbot_pinkeep.core.kinds import KeyKind
from certbot_pinkeep.core.policy import Policy
from e2e.reasons import SERVER
from lab import Apache, VirtualHost, Wget2
from lab.apache import MODULES
from lab.processes import program, run
from lab.waiting import HOST

pytestmark = SERVER

SITE = "www.pin.test"
#: The hosts of each keyring. One hundred and fifty long names are more than one pattern of Apache takes.
LONG = tuple(f"{'a' * 60}.{'b' * 60}.host-{number}.pin.test" for number in range(150))
KEYRINGS = {
    "first": (
        SITE,
        "example.pin.test",
        "xn--bcher-kva.test",
        "*.wild.test",
        "192.0.2.7",
        "2001:db8::1",
    ),
    "second": ("other.pin.test",),
    "third": LONG,
}
#: What a client asks for, and the keyring whose header it gets; empty: no header.
REQUESTS = {
    SITE: "first",
    "example.pin.test": "first",  # a ServerAlias
    "WWW.Pin.Test": "first",
    f"{SITE}:8443": "first",
    f"{SITE}.": "first",
    f"{SITE.upper()}.:443": "first",
    "xn--bcher-kva.test": "first",  # an IDN
    "XN--Bcher-KVA.test": "first",
    "a.wild.test": "first",
    "A.WILD.test:443": "first",
    "192.0.2.7": "first",
    "[2001:db8::1]": "first",
    "[2001:DB8::1]:443": "first",
    "other.pin.test": "second",
    LONG[0]: "third",
    LONG[-1]: "third",
    # One label too many, or none.
    "a.b.wild.test": "",
    "wild.test": "",
    # Names around a host's.
    f"no{SITE}": "",
    f"no.{SITE}": "",
    f"{SITE}.evil.test": "",
    "wwwxpin.test": "",
    "pin.test": "",
    # The default virtual host answers for every name, also with the pinned site's certificate.
    "foreign.test": "",
    "[2001:db8::2]": "",
}


NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
SPARE = "A" * 43 + "="
ENFORCED, REPORT_ONLY = "public-key-pins", "public-key-pins-report-only"

Headers = list[tuple[str, str]]


class Snippets:
    """Three keyrings' snippets, and one Apache whose sites all have the same certificate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        live = folder / "live"
        live.mkdir(parents=True)
        self.root = live / "fullchain.pem"
        self.site = folder / "site.conf"
        names = ",".join(f"DNS:{name}" for name in (SITE, "a.wild.test", "other.pin.test"))
        command = [program("openssl"), "req", "-x509", "-newkey", "ec", "-nodes", "-days", "30"]
        command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", f"/CN={SITE}"]
        command += ["-addext", f"subjectAltName={names}", "-out", str(self.root)]
        run([*command, "-keyout", str(live / "privkey.pem")]).check()
        self.site.write_text("")
        sites = (("default.test",), (SITE, "example.pin.test", "*.wild.test", "xn--bcher-kva.test"))
        self.server = Apache(
            folder / "apache", [VirtualHost(names, (live,), self.site) for names in sites]
        )
        self.policy = Policy((SPARE, f"B{SPARE[1:]}"), 1000)

    def write(self, policy: Policy) -> None:
        """Write the keyrings' snippets, each with a max-age of its own."""
        for number, (name, hosts) in enumerate(KEYRINGS.items()):
            key = Key(policy.pins[0], KeyKind("ecdsa", "secp256r1"), "primary", None, NOW)
            keyring = Keyring(name, (Member(name, hosts, key.pin),), (key,))
            own = replace(policy, max_age=policy.max_age + number)
            (self.folder / f"{name}.snippet").write_text(apache.render(keyring, own))

    def include(self, where: str, own: str = "") -> None:
        """Have Apache include the snippets in its own configuration, in its sites, or in both.

        :param own: lines of the admin's in each site
        """
        line = f"IncludeOptional {self.folder}/*.snippet\n"
        in_sites = line if where in ("sites", "both") else ""
        self.site.write_text(f"UseCanonicalName On\n{in_sites}{own}\n")
        http2 = f"LoadModule http2_module {MODULES}/mod_http2.so\nProtocols h2 http/1.1\n"
        self.server.write_config(f"{http2}{line if where in ('server', 'both') else ''}")
        self.server.reload()

    def asked(
        self, hosts: Iterable[str], over: str = "--http1.1", path: str = "/"
    ) -> list[Headers]:
        """The pin headers that curl gets to see, for each of the hosts."""
        port = self.server.https_port
        command = [program("curl"), "--disable"]
        for host in hosts:
            command += [] if command[-1] == "--disable" else ["--next"]
            command += ["--silent", "--insecure", over, "--path-as-is", "--noproxy", "*"]
            command += ["--dump-header", "-", "--output", "/dev/null", "--header", f"Host: {host}"]
            command += ["--connect-to", f"::{HOST}:{port}", f"https://{SITE}{path}"]
        answers = run(command).check().stdout.split("HTTP/")[1:]
        return [
            [
                (name.lower(), value)
                for name, _, value in (line.partition(": ") for line in answer.splitlines())
                if name.lower() in (ENFORCED, REPORT_ONLY)
            ]
            for answer in answers
        ]

    def expected(self, keyring: str) -> Headers:
        """What is sent for a host of the keyring; empty: for a host of none."""
        if not keyring:
            return []
        max_age = self.policy.max_age + list(KEYRINGS).index(keyring)
        name = REPORT_ONLY if self.policy.report_only else ENFORCED
        return [(name, replace(self.policy, max_age=max_age).header_value)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snippets]:
    """The Apache of all these tests."""
    made = Snippets(tmp_path_factory.mktemp("snippets"))
    with made.server:
        yield made


@pytest.fixture
def snippets(running: Snippets) -> Snippets:
    """The snippets with the pin of the key that is served."""
    running.policy = Policy((running.server.served_pin(SITE), SPARE), 1000)
    running.write(running.policy)
    return running


@pytest.mark.parametrize("where", ["server", "sites", "both"])
def test_one_header_at_the_keyrings_hosts_and_no_other(snippets: Snippets, where: str) -> None:
    """Apache sends exactly one header, that of the host's keyring, over HTTP/1.1 and HTTP/2."""
    snippets.include(where)
    expected = {host: snippets.expected(keyring) for host, keyring in REQUESTS.items()}
    for over in ("--http1.1", "--http2"):
        assert dict(zip(REQUESTS, snippets.asked(REQUESTS, over), strict=True)) == expected


def test_error_responses_have_it_and_plain_http_has_not(snippets: Snippets) -> None:
    """A page that is missing, and a request that Apache cannot read, are answered with the header."""
    snippets.include("server")
    for path in ("/missing", "/%"):
        for over in ("--http1.1", "--http2"):
            assert snippets.asked([SITE, "foreign.test"], over, path) == [
                snippets.expected("first"),
                [],
            ]
    for host in (SITE, "a.wild.test"):
        assert snippets.server.get_plain(host).pins == []


def test_report_only_and_unpinned(snippets: Snippets) -> None:
    """Apache sends the other header, or max-age=0, at the same hosts."""
    for changed in ({"report_only": True}, {"max_age": 0}, {"include_subdomains": True}):
        snippets.policy = replace(snippets.policy, **changed)
        snippets.write(snippets.policy)
        snippets.include("server")
        below = f"below.{SITE}"  # the header goes out at the keyring's own hosts
        expected = [snippets.expected(name) for name in ("first", "second", "")]
        assert snippets.asked([SITE, "other.pin.test", below]) == expected


@pytest.mark.parametrize(
    "own, sent",
    [
        ('Header always set Public-Key-Pins "own"', ["own"]),
        ('<Location "/">\nHeader always set Public-Key-Pins "own"\n</Location>', ["own"]),
        ('Header set Public-Key-Pins "own"', ["ours", "own"]),
        ("Header always unset Public-Key-Pins", []),
        ('Header always set Strict-Transport-Security "max-age=5"', ["ours"]),
    ],
)
def test_a_header_of_the_sites_own(snippets: Snippets, own: str, sent: list[str]) -> None:
    """Apache merges the lines of a site after those of the server: ``check`` tells of such a line."""
    snippets.include("server", own)
    ((_, ours),) = snippets.expected("first")
    expected = [(ENFORCED, ours if one == "ours" else one) for one in sent]
    assert snippets.asked([SITE]) == [expected]


def test_wget2_notes_each_host(snippets: Snippets, tmp_path: Path) -> None:
    """A user agent notes the pins at the keyring's hosts, by their own names, and nowhere else."""
    snippets.include("server")
    hosts = (SITE, "a.wild.test", "other.pin.test")
    client = Wget2(tmp_path / "client", snippets.root, hosts)
    for host in hosts:
        assert client.visit(snippets.server.url(host)).accepted
        assert sorted(client.noted(host)) == sorted(snippets.policy.pins)
