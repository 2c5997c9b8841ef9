"""Credentials files, the providers that they are for, and what a real PowerDNS cannot be made to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import requests
from zope.interface import implementer

from certbot_pinkeep.carriers.zones import GROUP, Change, IZone, credentials, powerdns
from certbot_pinkeep.core.errors import BadCredentials, NoDnspython, ZoneRefused
from certbot_pinkeep.core.tlsa import TlsaRecord
from certbot_pinkeep.core.zone_observations import Records
from certbot_pinkeep.exports import dns as written

SECRET = "c2VjcmV0"
RFC2136 = (
    f"dns_rfc2136_server = 192.0.2.1\ndns_rfc2136_name = key.\ndns_rfc2136_secret = {SECRET}\n"
)
POWERDNS = f"dns_powerdns_api_url = http://127.0.0.1:8081\ndns_powerdns_api_key = {SECRET}\n"
ZONE, OWNER = "example.com.", "_25._tcp.mail.example.com."
OLD, NEW, HERS = (TlsaRecord(3, 1, 1, one * 32) for one in ("aa", "bb", "cc"))


@implementer(IZone)
class Theirs:
    """Somebody else's provider, which fails with the secret in its error."""

    def __init__(self, options: Mapping[str, str]) -> None:
        if "secret" in options:
            raise ValueError(options["secret"])

    def read(self, zone: str, names: Sequence[str]) -> Mapping[str, Records]:
        """Fail."""
        raise ValueError(SECRET)

    def change(self, zone: str, changes: Sequence[Change]) -> None:
        """Fail."""
        raise SystemError(SECRET)


class NoProvider:
    """What provides nothing."""

    def __init__(self, options: Mapping[str, str]) -> None:
        """Take the options."""


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours, and those of somebody else, one of them with a name of ours."""
    ours = "certbot_pinkeep.carriers.zones"
    points = [
        EntryPoint("rfc2136", f"{ours}.rfc2136:Rfc2136", GROUP),
        EntryPoint("powerdns", f"{ours}.powerdns:PowerDns", GROUP),
        EntryPoint("powerdns", f"{__name__}:Theirs", GROUP),
        EntryPoint("theirs", f"{__name__}:Theirs", GROUP),
        EntryPoint("none", f"{__name__}:NoProvider", GROUP),
        EntryPoint("gone", "no_such_module:Zone", GROUP),
    ]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A credentials file that nobody else can read."""
    path = tmp_path / "credentials.ini"
    path.touch(0o600)
    return path


@pytest.mark.parametrize(
    ("text", "name"), [(RFC2136, "rfc2136"), (POWERDNS, "powerdns"), ("dns_theirs_x = 1", "theirs")]
)
def test_the_file_says_which_provider_it_is_for(text: str, name: str, file: Path) -> None:
    """The names of the options choose the provider; a name of ours stays ours."""
    file.write_text(f"# Of the admin\n\n{text}")
    zones = credentials.load(str(file))
    assert zones.name == name
    assert IZone.providedBy(zones)


BAD = {
    "": "it has no option of the form dns_PROVIDER_OPTION.",
    "dns_cloudflare_api_token = X": "its option dns_cloudflare_api_token is for no provider that is "
    "installed. Providers that are installed: gone, none, powerdns, rfc2136, theirs.",
    RFC2136 + POWERDNS: "it has options for several providers: powerdns, rfc2136.",
    f"dns_rfc2136_secret {SECRET}": "line 1 is not NAME = VALUE.",
    f"dns_rfc2136_secret = {SECRET}, {SECRET}": "dns_rfc2136_secret is not one value.",
    RFC2136.replace(
        "192.0.2.1", "ns.example.com"
    ): "dns_rfc2136_server cannot be used: it has to be an IP",
    RFC2136.replace("server", "servers"): "dns_rfc2136_server is missing.",
    RFC2136.replace("name", "names"): "dns_rfc2136_name is missing.",
    RFC2136.replace(
        SECRET, f"{SECRET}!"
    ): "dns_rfc2136_secret cannot be used: it has to be base64.",
    f"{RFC2136}dns_rfc2136_port = 0": "dns_rfc2136_port cannot be used",
    f"{RFC2136}dns_rfc2136_algorithm = SHA256": "one of HMAC-MD5, HMAC-SHA1, HMAC-SHA224",
    POWERDNS.replace("http://", "ftp://"): "dns_powerdns_api_url has to be an address",
    POWERDNS.replace("key", "keys"): "dns_powerdns_api_key is missing",
    f"dns_theirs_secret = {SECRET}": "The zone provider theirs is broken: it cannot be loaded (ValueError).",
    "dns_none_x = 1": "The zone provider none is broken: it does not provide IZone",
    "dns_gone_x = 1": "The zone provider gone is broken: it cannot be loaded (ModuleNotFoundError). "
    "Update or uninstall the package that brings no_such_module:Zone.",
}


@pytest.mark.parametrize(("text", "told"), BAD.items())
def test_g7_g10_credentials_that_cannot_be_used_are_told_without_a_value(
    text: str, told: str, file: Path
) -> None:
    """The error names the option, and never the secret, not even among its causes."""
    file.write_text(text)
    with pytest.raises(BadCredentials) as caught:
        credentials.load(str(file))
    assert told in str(caught.value)
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_dnspython_is_asked_for_by_its_provider(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing dnspython is an error that says what to run."""
    monkeypatch.delitem(sys.modules, "certbot_pinkeep.carriers.zones.rfc2136", raising=False)
    monkeypatch.setitem(sys.modules, "dns.update", None)
    file.write_text(RFC2136)
    with pytest.raises(NoDnspython):
        credentials.load(str(file))


def test_g7_a_file_that_others_can_read_is_warned_of(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As certbot does, pinkeep uses the file and says what to run."""
    file.write_text(RFC2136)
    credentials.load(str(file))
    assert not caplog.messages
    file.chmod(0o640)
    credentials.load(str(file))
    assert f"\nRun: chmod 600 {file}" in caplog.messages[0]


def test_g7_a_broken_provider_is_told_without_what_it_said(file: Path) -> None:
    """What somebody else's provider raises may tell a secret: only its kind is told."""
    file.write_text("dns_theirs_x = 1")
    zones = credentials.load(str(file))
    calls: list[Callable[[], object]] = [
        lambda: zones.read(ZONE, [OWNER]),
        lambda: zones.change(ZONE, []),
    ]
    for call in calls:
        with pytest.raises(ZoneRefused, match="provider theirs is broken: it failed") as caught:
            call()
        assert SECRET not in str(caught.value)


class Api:
    """PowerDNS's API, with what somebody else does between two calls."""

    def __init__(self, *records: tuple[TlsaRecord, bool]) -> None:
        self.records = [{"content": str(one), "disabled": disabled} for one, disabled in records]
        self.after_change: list[dict[str, Any]] | None = None
        self.status = 200
        self.error = ""
        self.key = ""

    def request(self, method: str, url: str, **more: Any) -> requests.Response:
        """Answer a call."""
        self.key = more["headers"]["X-API-Key"]
        assert not more["allow_redirects"]
        answer = requests.Response()
        answer.status_code = self.status
        answer._content = json.dumps({"error": self.error}).encode()
        if self.status == 200 and method == "PATCH":
            (changed,) = more["json"]["rrsets"]
            self.records = changed.get("records", [])
            self.records = self.records if self.after_change is None else self.after_change
            answer.status_code, answer._content = 204, b""
        elif self.status == 200:
            rrset = {"name": OWNER.upper(), "type": "TLSA", "records": self.records}
            answer._content = json.dumps({"rrsets": [rrset]}).encode()
        return answer


def call(api: Api, monkeypatch: pytest.MonkeyPatch) -> powerdns.PowerDns:
    """The provider that calls this API."""

    def request(session: requests.Session, method: str, url: str, **more: Any) -> requests.Response:
        assert not session.trust_env  # no proxy is given the key
        return api.request(method, url, **more)

    monkeypatch.setattr(requests.Session, "request", request)
    return powerdns.PowerDns({"api_url": "http://user:pass@192.0.2.1:8081", "api_key": SECRET})


def test_a_disabled_record_stays_and_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that PowerDNS does not serve is not seen, and survives each change."""
    api = Api((OLD, False), (HERS, True))
    zone = call(api, monkeypatch)
    assert zone.read(ZONE, [OWNER]) == {OWNER: {OLD}}
    zone.change(ZONE, [Change(OWNER, frozenset({OLD}), frozenset({NEW}), 300)])
    assert zone.read(ZONE, [OWNER]) == {OWNER: {NEW}}
    zone.change(ZONE, [Change(OWNER, frozenset({NEW}), frozenset(), 300)])
    assert [(one["content"], one["disabled"]) for one in api.records] == [(str(HERS), True)]


def test_g9_a_change_at_the_same_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the API knows no prerequisite, the records are read again after the change."""
    api = Api((OLD, False))
    api.after_change = [{"content": str(HERS)}]
    with pytest.raises(ZoneRefused, match="somebody else changed them at the same time"):
        call(api, monkeypatch).change(
            ZONE, [Change(OWNER, frozenset({OLD}), frozenset({NEW}), 300)]
        )


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (302, "it answered 302"),
        (401, "it does not know this API key"),
        (404, "it does not have this zone"),
        (422, "it answered 422 (RRset is odd)"),
    ],
)
def test_g7_what_the_api_refuses_is_told(
    status: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key goes to the given address alone; neither it nor a password is told."""
    api = Api()
    api.status, api.error = status, "RRset is odd"
    with pytest.raises(ZoneRefused) as caught:
        call(api, monkeypatch).read(ZONE, [OWNER])
    assert told in str(caught.value)
    assert api.key == SECRET
    assert SECRET not in str(caught.value) and "pass" not in str(caught.value)


def test_what_is_to_be_entered_by_hand_is_told_whole() -> None:
    """The records, and the same as a script that refuses what somebody else changed."""
    both = frozenset({OLD, NEW})
    changes = [Change(OWNER, frozenset({OLD}), both, 300), Change("x.", both, frozenset(), 300)]
    lines = f"{OWNER} 300 IN TLSA {OLD}\n{OWNER} 300 IN TLSA {NEW}\n"
    assert written.records(changes) == (
        f"; Replace all TLSA records at {OWNER} by these:\n{lines}; Delete all TLSA records at x.\n"
    )
    assert written.nsupdate(ZONE, changes[:1]) == (
        f"zone {ZONE}\nprereq yxrrset {OWNER} IN TLSA {OLD}\nupdate delete {OWNER} IN TLSA\n"
        f"update add {OWNER} 300 IN TLSA {OLD}\nupdate add {OWNER} 300 IN TLSA {NEW}\nsend\n"
    )
