"""Which server sends a keyring's header, and that no other one is touched."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given

from certbot_pinkeep.carriers import apache, nginx, running, servers
from certbot_pinkeep.carriers.servers import APACHE, NGINX
from certbot_pinkeep.check import site_rules
from certbot_pinkeep.core import options
from certbot_pinkeep.core.errors import BadOption, PublishFailed
from certbot_pinkeep.core.keyring import Keyring, Member
from certbot_pinkeep.core.observations import Seen, TlsObservation
from certbot_pinkeep.core.pem import load_certificate
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.reports import status
from simulated.machine import Machine
from simulated.values import DAY, NOW, A, B, policy, policy_strategy, ring_key

RING = Keyring(
    "ring",
    (Member("example.com", ("example.com",), A),),
    (ring_key(A, "primary"), ring_key(B)),
)
SITE = "a.pin.test"


def program(folder: Path, name: str, body: str = "") -> Path:
    """A program of this name."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which programs are looked for; it has none of a server's."""
    monkeypatch.setattr(apache, "_SYSTEM_PATH", (str(tmp_path / "sbin"), "/usr/bin", "/bin"))
    monkeypatch.setenv("PATH", str(tmp_path / "sbin"))
    return tmp_path / "sbin"


# header, the snippet that is there, what is installed -> the server
CHOICES: list[tuple[str | None, str, tuple[str, ...], str | None]] = [
    (None, "", (), "apache"),
    (None, "", ("nginx",), "nginx"),
    (None, "", ("apachectl",), "apache"),
    (None, "", ("apache2ctl", "nginx"), "apache"),
    (None, "", ("apache2", "nginx"), "apache"),  # Debian's apache2-bin has no control program
    (None, "", ("httpd", "nginx"), "apache"),
    (None, "apache", ("nginx",), "apache"),
    (None, "nginx", ("apache2ctl",), "nginx"),
    ("nginx", "apache", ("apache2ctl",), "nginx"),
    ("apache", "nginx", ("nginx",), "apache"),
    ("none", "apache", ("apache2ctl",), None),
]


@pytest.mark.parametrize(("header", "there", "installed", "expected"), CHOICES)
def test_server_of_a_keyring(
    found: Path, header: str | None, there: str, installed: tuple[str, ...], expected: str | None
) -> None:
    """The one that was chosen; else that of the snippet; else what is installed; else Apache."""
    for name in installed:
        program(found, name)
    text = servers.KINDS[there].render(RING, policy(A, B)) if there else None
    kind = servers.chosen_kind(header, "/snippets/ring.conf" if there else "", text)
    assert (kind.name if kind else None) == expected


DEFAULTS: Mapping[tuple[str, str], tuple[tuple[str, ...], tuple[str, ...]]] = {
    ("apache", "apache2ctl"): (("configtest",), ("graceful",)),
    ("apache", "apachectl"): (("configtest",), ("graceful",)),
    ("nginx", "nginx"): (("-t",), ("-s", "reload")),
}


@pytest.mark.parametrize(("kind", "name"), DEFAULTS)
def test_default_commands(found: Path, kind: str, name: str) -> None:
    """The contract's; none if the program is not installed."""
    empty = servers.server(servers.KINDS[kind])
    assert (empty.configtest, empty.reload) == ((), ())
    path = str(program(found, name))
    configtest, reload = DEFAULTS[kind, name]
    server = servers.server(servers.KINDS[kind])
    assert (server.configtest, server.reload) == ((path, *configtest), ((path, *reload),))
    assert (server.kind, server.default) == (kind, True)


@pytest.mark.parametrize("value", ["lighttpd", "", "apache,nginx"])
def test_g10_server_that_there_is_not(value: str) -> None:
    """The error names the option and what it takes."""
    with pytest.raises(BadOption, match="apache, nginx, none") as caught:
        options.parse({"header": value}, "ring")
    assert (caught.value.option, caught.value.value) == ("--pinkeep-header", value)


@given(policy_strategy())
def test_nginx_snippet_is_read_back_as_its_policy(published: Policy) -> None:
    """What it has nginx send is the policy, also with quotes and signs in the report-uri."""
    if "$" in published.header_value:
        return
    text = nginx.render(RING, published)
    assert nginx.read_policy(text) == published
    assert servers.kind_of("x", text) is NGINX
    assert servers.kind_of("x", apache.render(RING, published)) is APACHE


@pytest.mark.parametrize("published", [policy(A, B), policy(A, B, report_only=True), None])
def test_nginx_snippet_always_has_both_variables(published: Policy | None) -> None:
    """nginx would not start if a site uses one that is not there any more."""
    text = nginx.render(RING, published)
    assert len(re.findall("^map .*[$]pinkeep_pins_ring {$", text, re.M)) == 1
    assert len(re.findall("^map .*[$]pinkeep_report_only_ring {$", text, re.M)) == 1
    assert (nginx.read_policy(text) is None) == (published is None)


HOSTS = {
    ("b.test", "a.test", "A.Test."): (r"~^(?:a\.test|b\.test)$",),
    ("*.a.test",): (r"~^(?:[^.:]+\.a\.test)$",),
    ("2001:db8::1", "xn--bcher-kva.test"): (r"~^(?:\[2001:db8::1\]|xn--bcher-kva\.test)$",),
    # What is no host is nothing that a client could ask for.
    ("", "a#b.test", 'x" y', "b\u00fccher.test"): (),
}


@pytest.mark.parametrize("hosts", HOSTS)
def test_nginx_snippet_names_the_keyrings_hosts(hosts: tuple[str, ...]) -> None:
    """A block that answers for other hosts has the same line, and sends nothing at these hosts."""
    ring = replace(RING, members=(Member("x", hosts, A),))
    text = nginx.render(ring, policy(A, B))
    assert tuple(re.findall('"(~[^"]*)" 1;', nginx.condition(text))) == HOSTS[hosts]
    assert nginx.read_policy(text) == policy(A, B)


def test_nginx_snippet_of_many_hosts_has_several_patterns() -> None:
    """nginx reads no word of 4096 bytes."""
    hosts = tuple(f"{'a' * 60}.{'b' * 60}.{'c' * 60}.{number:04}.test" for number in range(500))
    text = nginx.render(replace(RING, members=(Member("x", hosts, A),)), policy(A, B))
    patterns = [one.removeprefix("~") for one in re.findall('"(~[^"]*)" 1;', nginx.condition(text))]
    assert max(map(len, patterns)) < 4000
    for host in hosts:
        assert [bool(re.search(one, host)) for one in patterns].count(True) == 1


def test_nginx_snippet_without_hosts_has_the_same_header_at_no_hosts_of_its_own() -> None:
    """It is written anew, and what was served does not count as edited."""
    text = nginx.render(RING, policy(A, B))
    old = re.sub(r"(?s)map \$host .*?}\n", "", text)
    old = re.sub(r'map "\S+"', "map $https", old).replace("on1 ", "on ")
    assert nginx.read_policy(old) == policy(A, B)
    assert (nginx.directives(old), nginx.condition(old)) == (nginx.directives(text), "")
    assert not NGINX.is_same(old, text) and NGINX.is_same(text, text + "# x\n")


class Two:
    """A machine with both servers, each with its programs, its test and its log."""

    def __init__(self, root: Path, found: Path) -> None:
        self.machine = Machine(root / "machine")
        self.machine.issue(SITE)
        self.log = root / "log"
        self.broken = root / "broken"
        for name, test in (("apache2ctl", "configtest"), ("nginx", "-t")):
            program(
                found,
                name,
                f'echo "{name} $*" >>"{self.log}"\n'
                f'[ "$1" = "{test}" ] && [ -e "{self.broken}" ] && exit 1\nexit 0',
            )

    def keep(self, days: int = 0, **values: object) -> bool:
        """A run; whether something is pending."""
        given: dict[str, object] = {"configtest_command": None, "reload_command": None, **values}
        return self.machine.keep(SITE, SITE, NOW + days * DAY, days > 0, **given).pending

    @property
    def told(self) -> list[str]:
        """What the servers were told since it was asked last; questions left out."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [line for line in lines if line.split()[-1] not in ("-T", "-V", "DUMP_RUN_CFG")]

    def snippet(self, kind: str) -> Path:
        """Where a server's snippet is."""
        return self.machine.config / "pinkeep" / kind / f"{SITE}.conf"


@pytest.fixture
def two(tmp_path: Path, found: Path, monkeypatch: pytest.MonkeyPatch) -> Two:
    """Both servers run."""
    (tmp_path / "machine").mkdir()
    monkeypatch.setattr("certbot_pinkeep.carriers.running.is_stopped", lambda words: False)
    return Two(tmp_path, found)


def test_nginx_alone_is_tested_and_reloaded(two: Two) -> None:
    """Apache is not touched, though it is there."""
    assert not two.keep(header="nginx")
    assert two.told == ["nginx -t", "nginx -s reload"]
    text = two.snippet("nginx").read_text()
    assert nginx.read_policy(text) is not None and not two.snippet("apache").exists()
    assert not two.machine.state(SITE).ledger.pending


def test_g6_snippet_that_nginx_refuses_is_taken_back(two: Two) -> None:
    """As Apache's is."""
    two.keep(header="nginx")
    before = two.snippet("nginx").read_bytes()
    two.broken.touch()
    with pytest.raises(PublishFailed, match="nginx's configuration test failed"):
        two.keep(header="nginx", max_age=86400)
    assert two.snippet("nginx").read_bytes() == before


def test_g12_renewed_certificate_is_loaded_by_nginx(two: Two) -> None:
    """It is tested first."""
    two.keep(header="nginx")
    key = Path(two.machine.look(SITE).key_path).read_bytes()
    two.machine.issue(SITE, key)
    assert two.told and not two.keep(1, header="nginx")
    assert two.told == ["nginx -t", "nginx -s reload"]


def test_report_uri_that_nginx_cannot_have(two: Two) -> None:
    """It is an error that says what to do, and nothing is written."""
    with pytest.raises(PublishFailed, match="Set another one"):
        two.keep(header="nginx", report_uri="https://r.example/$x")
    assert not two.snippet("nginx").exists()


@pytest.mark.parametrize(("before", "after"), [("apache", "nginx"), ("nginx", "apache")])
def test_header_moves_to_another_server(two: Two, before: str, after: str) -> None:
    """The new one sends it, the old one is reloaded as well and sends none; its file stays there."""
    two.keep(header=before)
    assert two.told
    assert not two.keep(1, header=after)
    assert {line.split()[0].removesuffix("2ctl") for line in two.told} == {"apache", "nginx"}
    kinds = servers.KINDS
    assert kinds[before].read_policy(two.snippet(before).read_text()) is None
    assert kinds[after].read_policy(two.snippet(after).read_text()) is not None
    assert not two.keep(2, header=after)
    assert two.told == []


def test_g2_old_server_that_cannot_be_reloaded_may_still_send_its_header(two: Two) -> None:
    """What it sends is not taken to have ended until the move is done."""
    two.keep(header="apache")
    state = two.machine.state(SITE)
    two.broken.touch()
    with pytest.raises(PublishFailed):
        two.keep(1, header="nginx", configtest_command="true", reload_command="true", max_age=60)
    ledger = two.machine.state(SITE).ledger
    assert ledger.pending and ledger.entries[0].policy == state.ledger.entries[0].policy
    assert all(entry.replaced is None for entry in ledger.entries)
    two.broken.unlink()
    assert not two.keep(2, header="nginx", max_age=60)
    assert two.machine.state(SITE).ledger.entries[0].replaced in (None, NOW + 2 * DAY)
    assert apache.read_policy(two.snippet("apache").read_text()) is None


def test_none_writes_tests_and_reloads_nothing(two: Two) -> None:
    """Nothing is pending, and nobody waits for a header: what binds are releases."""
    assert not two.keep(header="none")
    assert two.told == []
    state = two.machine.state(SITE)
    assert state.snippet == "" and not two.snippet("apache").exists()
    assert not state.ledger.pending and state.ledger.binds_nobody(NOW)
    assert state.keyring.in_service()[0].first_served is not None
    saved = state.saved
    assert not two.keep(1, header="none")
    assert two.machine.state(SITE).saved == saved


def test_none_with_a_reload_command_has_the_certificate_loaded(two: Two, tmp_path: Path) -> None:
    """By whatever serves it; once for each certificate."""
    log = tmp_path / "loaded"
    command = f"sh -c 'echo loaded >>{log}'"
    for day in range(3):
        two.keep(day, header="none", reload_command=command)
    assert log.read_text().count("loaded") == 1
    key = Path(two.machine.look(SITE).key_path).read_bytes()
    two.machine.issue(SITE, key)
    two.keep(3, header="none", reload_command=command)
    assert log.read_text().count("loaded") == 2


def test_header_that_is_given_up_for_none_ends_by_itself(two: Two) -> None:
    """Apache is told to send it no more; what clients hold binds until it has run out."""
    two.keep(header="apache")
    assert not two.keep(1, header="none")
    assert apache.read_policy(two.snippet("apache").read_text()) is None
    ledger = two.machine.state(SITE).ledger
    assert not ledger.binds_nobody(NOW + 60 * DAY) and ledger.binds_nobody(NOW + 62 * DAY)


def test_header_comes_back_from_none(two: Two) -> None:
    """It is published as ever."""
    two.keep(header="none")
    assert not two.keep(1, header="apache")
    found = apache.read_policy(two.snippet("apache").read_text())
    assert found is not None and found.max_age == 5184000


def test_keyring_stays_with_its_server(two: Two, found: Path) -> None:
    """Whatever is installed later."""
    (found / "apache2ctl").unlink()
    two.keep()
    program(found, "apache2ctl")
    (found / "nginx").rename(found / "away")
    two.keep(1)
    assert two.snippet("nginx").exists() and not two.snippet("apache").exists()


def test_lost_keyring_file_is_made_up_from_nginx_snippet(two: Two) -> None:
    """As from Apache's: the backups are found again, and no key is rolled over (G8)."""
    two.keep(header="nginx")
    before = nginx.read_policy(two.snippet("nginx").read_text())
    (two.machine.config / "pinkeep" / f"{SITE}.conf").unlink()
    for path in two.machine.work.rglob("*"):
        if path.is_file():
            path.unlink()
    two.keep(1)
    assert nginx.read_policy(two.snippet("nginx").read_text()) == before
    assert two.machine.state(SITE).ledger.uncertain is not None


def test_status_of_a_keyring_without_a_header(two: Two) -> None:
    """Nothing is published, and that is said in its words."""
    two.keep(header="none")
    state = two.machine.state(SITE)
    (keyring,) = status.as_data([state], {}, NOW, "/etc")["keyrings"]
    assert keyring["published"] == "none"
    assert "no server sends a header" in status.as_text([state], NOW)


def test_missing_header_of_nginx_is_mended_at_nginx(two: Two) -> None:
    """Not in a <VirtualHost> that it does not have."""
    two.keep(header="nginx")
    state = two.machine.state(SITE)
    text = two.snippet("nginx").read_text()
    cert = load_certificate(Path(two.machine.look(SITE).cert_path).read_bytes())
    shown = TlsObservation(SITE, certificate=cert.public_bytes(Encoding.DER))
    seen = Seen(state, options.parse({}, SITE), True, NOW, 0, "", text, (shown,))
    (finding,) = [one for one in site_rules.check(seen, NOW) if "clients note no pins" in one.what]
    assert "nginx's http block" in finding.todo and "VirtualHost" not in finding.todo


@pytest.mark.parametrize("runs", [True, False])
def test_g12_other_server_that_runs_is_named_if_the_keyrings_own_does_not(
    found: Path, monkeypatch: pytest.MonkeyPatch, runs: bool
) -> None:
    """With both installed and none chosen Apache has the keyring, though nginx may serve the site."""
    program(found, "apache2ctl")
    program(found, "nginx")
    monkeypatch.setattr(
        running, "is_stopped", lambda words: words[0].endswith("apache2ctl") or not runs
    )
    beside = servers.running_beside("apache")
    assert [kind.name for kind in beside] == (["nginx"] if runs else [])
    assert servers.running_beside("nginx") == []
