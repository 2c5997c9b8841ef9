"""Handing over the CSR, with a client that stands for certbot's (G1, G9)."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from acme import errors as acme_errors
from acme import messages
from certbot import errors, util
from certbot._internal import cli
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from certbot_pinkeep.adapters import (
    certbot_client,
    certbot_config,
    certbot_guard,
    certbot_watch,
)
from certbot_pinkeep.core.errors import Compromised, KeyRefused, NotSafe, PinkeepError, Unsupported
from certbot_pinkeep.core.key_and_csr import KeyAndCsr, SavedCsr
from simulated.values import certificate, csr_pem, make_pem, pin_of_key

NAMES = ["example.com", "www.example.com"]
KEY, OTHER = make_pem(), make_pem()
CSR = SavedCsr("/etc/csr/0000_csr-certbot.pem", csr_pem(KEY, NAMES))
HANDED = KeyAndCsr("/etc/keys/0000_key-certbot.pem", KEY, CSR, pin_of_key(KEY))
#: The next one, if the CA refuses the first key.
NEXT = KeyAndCsr(
    "/etc/keys/0001_key-certbot.pem",
    OTHER,
    SavedCsr("/etc/csr/0001_csr-certbot.pem", csr_pem(OTHER, NAMES)),
    pin_of_key(OTHER),
)
CHAIN = b"chain"


class Pinning:
    """An installer of ours."""

    def __init__(self, handed: KeyAndCsr | None = HANDED, error: Exception | None = None) -> None:
        self.handed = handed
        self.error = error
        self.asked: list[tuple[tuple[str, ...], str | None, bool]] = []
        self.stored: list[bytes] = []
        self.refusals: list[KeyRefused] = []
        self.after_refusal: KeyAndCsr | PinkeepError | None = None
        self.without: dict[str, KeyAndCsr] = {}
        self.told: list[tuple[str, str]] = []
        self.compromised = False

    def handover(
        self, names: Sequence[str], live_key_path: str | None, dry_run: bool
    ) -> KeyAndCsr | None:
        """What the test says."""
        self.asked.append((tuple(names), live_key_path, dry_run))
        if self.error:
            raise self.error
        if self.refusals and self.after_refusal is not None:
            if isinstance(self.after_refusal, PinkeepError):
                raise self.after_refusal
            return self.after_refusal
        return self.handed

    def is_still_chosen(self, names: Sequence[str], live_key_path: str | None, pin: str) -> bool:
        """Nothing changes."""
        return True

    def issued(self, certificate: bytes) -> None:
        """Note it."""
        self.stored.append(certificate)

    def refused(self, refusal: KeyRefused) -> None:
        """Note it."""
        self.refusals.append(refusal)

    def report_rejected_backup(self, pin: str, why: str) -> None:
        """Note it."""
        self.told.append((pin, why))

    def csr_rejected(self, pin: str) -> bool:
        """Hand over what the test says in place of this backup."""
        backup = pin in self.without
        self.handed = self.without.get(pin, self.handed)
        return backup

    def is_compromised(self, live_key_path: str) -> bool:
        """What the test says."""
        return self.compromised


class Installed(Pinning):
    """A subclass is ours as well."""


def renewal_check(config: Any, lineage: Any) -> None:
    """Certbot's refusal of another key's size, curve or type."""
    raise errors.Error("certbot's own refusal")


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A class like certbot's client, wrapped."""

    class Client:
        """Issues for the given key; notes what it is asked."""

        issued_for = KEY

        def __init__(self, installer: object, dry_run: bool = False) -> None:
            self.installer = installer
            self.config = SimpleNamespace(dry_run=dry_run, allow_subset_of_names=False)
            self.originals: list[str | None] = []
            self.csrs: list[util.CSR] = []
            self.errors: dict[str, Exception] = {}

        def obtain_certificate(
            self, domains: Sequence[Any], old_keypath: str | None = None
        ) -> tuple[bytes, bytes, util.Key, util.CSR]:
            """Certbot's own way, with a key of its own."""
            self.originals.append(old_keypath)
            made = certificate(OTHER, map(str, domains))
            return made, CHAIN, util.Key("own", OTHER), util.CSR("own", b"own", "pem")

        def obtain_certificate_from_csr(
            self, csr: util.CSR, orderr: object = None
        ) -> tuple[bytes, bytes]:
            """What ``certbot --csr`` calls."""
            self.csrs.append(csr)
            if csr.file in self.errors:
                raise self.errors[csr.file]
            key = OTHER if csr.file == NEXT.csr.path else self.issued_for
            return certificate(key, NAMES), CHAIN

        def _get_order_and_authorizations(self, csr_pem: bytes, best_effort: bool) -> object:
            raise AssertionError("not for all names at once")

    monkeypatch.setattr(certbot_client, "certbot_client", SimpleNamespace(Client=Client))
    renewal = SimpleNamespace(_avoid_reuse_key_conflicts=renewal_check)
    monkeypatch.setattr(certbot_client, "certbot_renewal", renewal)
    certbot_client.wrap(lambda one: one if isinstance(one, Pinning) else None)
    setattr(Client, "renewal", renewal)  # noqa: B010
    return Client


@pytest.mark.parametrize("kind", [Pinning, Installed])
def test_g1_certificate_is_issued_for_the_saved_csr(client: Any, kind: type[Pinning]) -> None:
    """Certbot gets the key and CSR that were handed over, byte for byte, and never makes its own."""
    installer = kind()
    one = client(installer)
    # Whatever the case of certbot's names, pinkeep compares them in lower case.
    names = [NAMES[0].upper(), *NAMES[1:]]
    made, chain, key, csr = one.obtain_certificate(names, "/live/x/privkey.pem")
    assert (chain, key.file, key.pem) == (CHAIN, HANDED.key_path, KEY)
    assert one.csrs == [csr] and (csr.file, csr.data, csr.form) == (CSR.path, CSR.pem, "pem")
    assert installer.asked == [(tuple(NAMES), "/live/x/privkey.pem", False)]
    assert installer.stored == [made] and one.originals == []


def test_g1_certificate_for_another_key_is_not_stored(client: Any) -> None:
    """The CA returns another key's certificate: an error, and certbot's own way is not tried."""
    installer = Pinning()
    one = client(installer)
    one.issued_for = OTHER
    with pytest.raises(errors.Error, match="keeps the old certificate") as caught:
        one.obtain_certificate(NAMES, None)
    assert pin_of_key(OTHER) in str(caught.value) and HANDED.pin in str(caught.value)
    assert installer.stored == [] and one.originals == []


def test_g1_what_is_no_certificate_is_not_stored(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be compared does not count as equal."""
    installer = Pinning()
    junk = (b"junk", CHAIN)
    monkeypatch.setattr(client, "obtain_certificate_from_csr", lambda self, csr, orderr=None: junk)
    with pytest.raises(errors.Error, match="cannot be compared"):
        client(installer).obtain_certificate(NAMES, None)
    assert installer.stored == []


@pytest.mark.parametrize("installer", [None, object(), SimpleNamespace(handover=None)])
def test_g9_other_installers_are_left_to_certbot(client: Any, installer: object) -> None:
    """Certbot's own method is called with what it was called with."""
    one = client(installer)
    assert one.obtain_certificate(NAMES, "/live/x/privkey.pem")[2].file == "own"
    assert one.originals == ["/live/x/privkey.pem"] and one.csrs == []


def test_new_keyring_is_left_to_certbot(client: Any) -> None:
    """If there is no keyring yet, certbot makes the first key, and we are told."""
    installer = Pinning(handed=None)
    one = client(installer)
    made = one.obtain_certificate(NAMES)[0]
    assert one.originals == [None] and installer.stored == [made]


def test_dry_run_is_passed_on_and_stores_nothing(client: Any) -> None:
    """A simulation hands over the same CSR, and nothing is noted as issued."""
    installer = Pinning()
    one = client(installer, dry_run=True)
    one.obtain_certificate(NAMES, "/live/x/privkey.pem")
    assert installer.asked[0][2] is True and len(one.csrs) == 1 and installer.stored == []


def test_our_errors_become_certbots(client: Any) -> None:
    """Certbot shows its own kind of errors as a sentence; a rollover is refused before the CA."""
    one = client(Pinning(error=NotSafe("not before March")))
    with pytest.raises(errors.Error, match="not before March"):
        one.obtain_certificate(NAMES, None)
    assert one.csrs == one.originals == []


@pytest.mark.parametrize(
    "name",
    ["obtain_certificate", "obtain_certificate_from_csr", "_get_order_and_authorizations"],
)
def test_unknown_client_is_not_wrapped(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A certbot whose methods take other arguments is refused, and stays as it is."""

    class Client:
        def obtain_certificate(self, domains: Any, old_keypath: Any = None) -> None: ...
        def obtain_certificate_from_csr(self, csr: Any, orderr: Any = None) -> None: ...
        def _get_order_and_authorizations(self, csr_pem: Any, best_effort: Any) -> None: ...

    def changed(self: Any, orders: Any, of: Any, another: Any, kind: Any) -> None: ...

    known = SimpleNamespace(_avoid_reuse_key_conflicts=renewal_check)
    monkeypatch.setattr(certbot_client, "certbot_renewal", known)
    monkeypatch.setattr(certbot_client, "certbot_client", SimpleNamespace(Client=Client))
    monkeypatch.setattr(Client, name, changed)
    before = Client.obtain_certificate
    with pytest.raises(Unsupported, match="reuse_key"):
        certbot_client.wrap(lambda one: one if isinstance(one, Pinning) else None)
    assert Client.obtain_certificate is before


def config(installer: str, verb: str, key_type: str) -> Any:
    """Certbot's configuration, as far as it is looked at."""
    return SimpleNamespace(installer=installer, verb=verb, key_type=key_type)


LINEAGE = SimpleNamespace(lineagename="example.com", private_key_type="RSA")


def test_g3_other_key_type_in_cli_ini_does_not_block_a_renewal(client: Any) -> None:
    """A pinned key is renewed though new keys would be of another kind."""
    checked = client.renewal._avoid_reuse_key_conflicts
    checked(config("pinkeep", "renew", "ecdsa"), LINEAGE)
    checked(config("pinkeep", "certonly", "ecdsa"), LINEAGE)


def test_g9_key_conflicts_of_other_installers_are_certbots(client: Any) -> None:
    """Certbot's own refusal stays in force for everybody else."""
    with pytest.raises(errors.Error, match="own refusal"):
        client.renewal._avoid_reuse_key_conflicts(config("apache", "renew", "x"), LINEAGE)


# A key that the CA refuses


def problem(code: str, detail: str) -> messages.Error:
    """What a CA says (RFC 8555 §6.7)."""
    said = {"type": f"urn:ietf:params:acme:error:{code}", "detail": detail}
    found: messages.Error = messages.Error.from_json(said)
    return found


def order_failed(code: str, detail: str) -> Exception:
    """An order that became invalid; older clients had no name for it."""
    return acme_errors.IssuanceError(problem(code, detail))


LIVE = "/live/x/privkey.pem"
REFUSALS: list[tuple[Callable[[str, str], Exception], str, str]] = [
    (problem, "badCSR", "Error finalizing order :: public key is forbidden"),
    (problem, "badPublicKey", "key is on the blocklist"),
    (problem, "badPublicKey", "The key was found in a BLACKLIST"),
    (problem, "badCSR", "the key is known to be compromised"),
    (problem, "badCSR", "A certificate of this key was revoked for keyCompromise"),
    (problem, "badCSR", "weak key"),
    (order_failed, "badCSR", "public key is forbidden"),
    (order_failed, "badPublicKey", "compromised key"),
]


@pytest.mark.parametrize(("kind", "code", "detail"), REFUSALS)
def test_g3_refused_key_is_marked_and_the_next_safe_one_handed_over(
    client: Any, kind: Callable[[str, str], Exception], code: str, detail: str
) -> None:
    """At once, in the same run; what is issued for the second one is stored."""
    installer = Pinning()
    installer.after_refusal = NEXT
    one = client(installer)
    one.errors = {CSR.path: kind(code, detail)}
    made, _, key, _ = one.obtain_certificate(NAMES, LIVE)
    assert [refusal.pin for refusal in installer.refusals] == [HANDED.pin]
    assert detail in str(installer.refusals[0]) and HANDED.pin in str(installer.refusals[0])
    assert installer.asked == [(tuple(NAMES), LIVE, False)] * 2
    assert [csr.file for csr in one.csrs] == [CSR.path, NEXT.csr.path]
    assert (key.file, key.pem, installer.stored) == (NEXT.key_path, OTHER, [made])
    assert one.originals == []


def test_g3_second_refusal_marks_nothing(client: Any) -> None:
    """It is the request then that the CA refuses: its own error, and nothing is stored."""
    installer = Pinning()
    installer.after_refusal = NEXT
    one = client(installer)
    forbidden = problem("badCSR", "public key is forbidden")
    one.errors = {CSR.path: forbidden, NEXT.csr.path: forbidden}
    with pytest.raises(messages.Error, match="public key is forbidden"):
        one.obtain_certificate(NAMES, LIVE)
    assert [refusal.pin for refusal in installer.refusals] == [HANDED.pin]
    assert installer.stored == one.originals == [] and len(one.csrs) == 2


def test_g3_csr_that_the_ca_does_not_take_is_not_sent_twice(client: Any) -> None:
    """The keyring has no other key to hand over: the CA's own error is told at once."""

    class Once(Pinning):
        def csr_rejected(self, pin: str) -> bool:
            return self.without.pop(pin, None) is not None

    installer = Once()
    installer.without = {HANDED.pin: HANDED}
    one = client(installer)
    one.errors = {CSR.path: problem("badCSR", REJECTED)}
    with pytest.raises(messages.Error, match=REJECTED):
        one.obtain_certificate(NAMES, LIVE)
    assert len(one.csrs) == 1 and not installer.stored and not installer.told


def test_g3_refused_key_without_a_safe_backup_is_an_error(client: Any) -> None:
    """The workflow's own words: who is locked out, and what to run."""
    installer = Pinning()
    installer.after_refusal = Compromised("run: certbot-pinkeep rollover")
    one = client(installer)
    one.errors = {CSR.path: problem("badCSR", "public key is forbidden")}
    with pytest.raises(errors.Error, match="run: certbot-pinkeep rollover"):
        one.obtain_certificate(NAMES, LIVE)
    assert len(installer.refusals) == 1 and installer.stored == one.originals == []


def test_refused_key_that_is_not_pinned_is_the_cas_error(client: Any) -> None:
    """There is no other key: certbot never makes one on its own."""
    installer = Pinning()
    one = client(installer)
    one.errors = {CSR.path: problem("badCSR", "public key is forbidden")}
    with pytest.raises(errors.Error, match="public key is forbidden"):
        one.obtain_certificate(NAMES, LIVE)
    assert len(one.csrs) == 1 and one.originals == []


def test_dry_run_marks_no_key(client: Any) -> None:
    """The test CA's word is not the CA's; the simulation fails as the renewal would."""
    installer = Pinning()
    installer.after_refusal = NEXT
    one = client(installer, dry_run=True)
    one.errors = {CSR.path: problem("badCSR", "public key is forbidden")}
    with pytest.raises(errors.Error, match="The CA refuses the key"):
        one.obtain_certificate(NAMES, LIVE)
    assert installer.refusals == [] and len(one.csrs) == 1


REJECTED = "invalid public key in CSR: ECDSA curve P-521 not allowed"


@pytest.mark.parametrize("kind", [problem, order_failed])
@pytest.mark.parametrize("dry_run", [False, True])
def test_g3_backup_that_the_ca_does_not_take_holds_no_renewal_up(
    client: Any, kind: Callable[[str, str], Exception], dry_run: bool
) -> None:
    """The next one is handed over at once; nothing is said to be compromised."""
    installer = Pinning()
    installer.without = {HANDED.pin: NEXT}
    one = client(installer, dry_run)
    one.errors = {CSR.path: kind("badCSR", REJECTED)}
    made, _, key, _ = one.obtain_certificate(NAMES, LIVE)
    assert [csr.file for csr in one.csrs] == [CSR.path, NEXT.csr.path]
    assert (key.file, key.pem, installer.refusals) == (NEXT.key_path, OTHER, [])
    assert installer.stored == ([] if dry_run else [made]) and one.originals == []
    assert installer.told == [(HANDED.pin, REJECTED)]


def test_g3_request_that_the_ca_does_not_take_for_any_key_is_its_error(client: Any) -> None:
    """Once the present key has had its turn."""
    installer = Pinning()
    installer.without = {HANDED.pin: NEXT}
    one = client(installer)
    one.errors = {
        CSR.path: problem("badCSR", REJECTED),
        NEXT.csr.path: problem("badCSR", "too many names"),
    }
    with pytest.raises(messages.Error, match="too many names"):
        one.obtain_certificate(NAMES, LIVE)
    assert len(one.csrs) == 2 and installer.stored == one.originals == []
    assert installer.told == []  # the backup is as good as the other key


@pytest.mark.parametrize(
    "error",
    [
        problem("rateLimited", "too many certificates; the key is not compromised"),
        problem("unauthorized", "forbidden by policy"),
        problem("rejectedIdentifier", "the name is forbidden"),
        problem("badCSR", "the CSR has no names"),
        problem("badCSR", ""),
        problem("badPublicKey", "only P-256 is supported"),
        problem("serverInternal", "blocked"),
        order_failed("serverInternal", "the key is forbidden, perhaps"),
        acme_errors.ClientError("network is blocked: badCSR"),
        acme_errors.TimeoutError(),
        errors.Error("public key is forbidden"),
        OSError("public key is forbidden"),
    ],
    ids=repr,
)
def test_other_errors_of_the_ca_pass_unchanged(client: Any, error: Exception) -> None:
    """Certbot sees the very error; no key is marked, none is tried instead."""
    installer = Pinning()
    installer.after_refusal = NEXT
    one = client(installer)
    one.errors = {CSR.path: error}
    with pytest.raises(type(error)) as caught:
        one.obtain_certificate(NAMES, LIVE)
    assert caught.value is error
    assert installer.refusals == [] and len(one.csrs) == 1 and one.originals == []


# certbot revoke


class Revoked:
    """Notes what is told of revocations."""

    def __init__(self) -> None:
        self.notes: list[tuple[object, str, bool]] = []
        self.error: Exception | None = None

    def __call__(self, config: object, pin: str, compromised: bool) -> None:
        """A certificate was revoked."""
        if self.error:
            raise self.error
        self.notes.append((config, pin, compromised))


class Acme:
    """Certbot's revocation and the client below it, which are watched."""

    def __init__(self, client: type[Any], main: Any, notice: Revoked) -> None:
        self.client = client
        self.main = main
        self.notice = notice
        self.certificate = x509.load_pem_x509_certificate(certificate(KEY, NAMES))

    def revoke(self, reason: int = 0) -> Any:
        """``certbot revoke``."""
        return self.main.revoke(SimpleNamespace(acme=self, reason=reason), "plugins")


@pytest.fixture
def acme(monkeypatch: pytest.MonkeyPatch) -> Iterator[Acme]:
    """The two, watched."""

    class ClientV2:
        """The client of the CA."""

        calls: list[tuple[Any, int]] = []  # noqa: RUF012
        error: Exception | None = None

        def revoke(self, cert: Any, rsn: int) -> None:
            """The CA accepts or refuses."""
            if self.error is not None:
                raise self.error
            self.calls.append((cert, rsn))

    def revoke(config: Any, unused_plugins: Any) -> str | None:
        """As certbot has it: the CA's errors are its exit message."""
        try:
            ClientV2().revoke(config.acme.certificate, config.reason)
        except acme_errors.ClientError as error:
            return str(error)
        return None

    main = SimpleNamespace(revoke=revoke)
    ClientV2.calls = []
    monkeypatch.setattr(certbot_watch, "acme_client", SimpleNamespace(ClientV2=ClientV2))
    monkeypatch.setattr(certbot_watch, "certbot_main", main)
    notice, original = Revoked(), ClientV2.revoke
    certbot_watch.watch_revocations(notice)
    yield Acme(ClientV2, main, notice)
    assert ClientV2.revoke is original, "the client's own method is not back"


@pytest.mark.parametrize(("reason", "compromised"), [(0, False), (1, True), (4, False), (5, False)])
def test_revocation_is_told_with_pin_and_reason(acme: Acme, reason: int, compromised: bool) -> None:
    """Once, with certbot's own configuration; only keyCompromise is one of the key."""
    assert acme.revoke(reason) is None
    ((config, pin, told),) = acme.notice.notes
    assert (pin, told) == (pin_of_key(KEY), compromised)
    assert getattr(config, "acme", None) is acme
    assert acme.client.calls == [(acme.certificate, reason)]


def test_revocation_that_the_ca_refuses_is_none(acme: Acme) -> None:
    """Certbot tells its error as ever."""
    acme.client.error = acme_errors.ClientError("Successful revocation must return HTTP OK status")
    assert "Successful revocation" in str(acme.revoke(1))
    acme.client.error = problem("alreadyRevoked", "again")
    with pytest.raises(messages.Error):
        acme.revoke(1)
    assert acme.notice.notes == []


@pytest.mark.parametrize("error", [OSError(28, "No space"), PinkeepError("damaged"), KeyError("x")])
def test_g9_nothing_stops_certbot_from_revoking(
    acme: Acme, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """What goes wrong in noting it is said, with what to run instead."""
    acme.notice.error = error
    with caplog.at_level(logging.ERROR):
        assert acme.revoke(1) is None
    assert acme.client.calls and str(error) in caplog.text
    assert "certbot-pinkeep rollover NAME --when-safe" in caplog.text


def test_certificate_as_acme_2_had_it_is_understood(acme: Acme) -> None:
    """Wrapped twice: by josepy, and by pyOpenSSL."""
    own = acme.certificate
    wrapped = SimpleNamespace(to_cryptography=lambda: own)
    acme.certificate = SimpleNamespace(wrapped=wrapped)  # type: ignore[assignment]
    acme.revoke(1)
    assert acme.notice.notes[0][1:] == (pin_of_key(KEY), True)


def test_key_that_cannot_be_pinned_is_not_told(
    acme: Acme, caplog: pytest.LogCaptureFixture
) -> None:
    """It is in no keyring, and that is no error."""
    strange = ec.generate_private_key(ec.SECP256K1()).public_key()
    acme.certificate = SimpleNamespace(public_key=lambda: strange)  # type: ignore[assignment]
    assert acme.revoke(1) is None
    assert acme.notice.notes == [] and caplog.messages == []


def test_g9_only_certbot_revoke_is_watched(acme: Acme) -> None:
    """What another plugin revokes with the client is its own business."""
    acme.client().revoke(acme.certificate, 1)
    assert acme.notice.notes == []


def test_client_is_whole_again_after_an_error(acme: Acme) -> None:
    """Certbot's own errors go through; see the fixture for what is put back."""
    with pytest.raises(AttributeError):
        acme.main.revoke(SimpleNamespace(), "plugins")
    assert acme.revoke() is None and len(acme.notice.notes) == 1


@pytest.mark.parametrize("what", ["main", "client"])
def test_unknown_revocation_is_not_watched(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """A certbot whose functions take other arguments is refused, and stays as it is."""

    class ClientV2:
        def revoke(self, cert: Any, rsn: int) -> None: ...

    def revoke(config: Any, unused_plugins: Any) -> None: ...
    def changed(config: Any, plugins: Any, more: Any, still: Any) -> None: ...

    main = SimpleNamespace(revoke=changed if what == "main" else revoke)
    if what == "client":
        monkeypatch.setattr(ClientV2, "revoke", changed)
    monkeypatch.setattr(certbot_watch, "acme_client", SimpleNamespace(ClientV2=ClientV2))
    monkeypatch.setattr(certbot_watch, "certbot_main", main)
    before = main.revoke
    with pytest.raises(Unsupported):
        certbot_watch.watch_revocations(Revoked())
    assert main.revoke is before


# Reading certbot's configuration


def read_config(tmp_path: Path, content: str) -> Any:
    """What certbot makes of a ``cli.ini``."""
    (tmp_path / "cli.ini").write_text(content)
    folders = [f"--{name}-dir={tmp_path / name}" for name in ("config", "work", "logs")]
    return certbot_config.read_config([f"--config={tmp_path / 'cli.ini'}", *folders])


def test_what_certbots_parser_refuses_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a sentence, with the parser's own reason; it does not end the process, nor print its usage."""
    with pytest.raises(PinkeepError, match=r"unrecognized arguments: --nonsense=1$"):
        read_config(tmp_path, "nonsense = 1\n")
    assert capsys.readouterr() == ("", "")


def test_what_certbots_parser_says_of_what_it_takes_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A warning stays a warning."""
    real = cli.prepare_and_parse_args

    def parse(plugins: Any, arguments: list[str]) -> Any:
        print("it is deprecated", file=sys.stderr)
        return real(plugins, arguments)

    monkeypatch.setattr(cli, "prepare_and_parse_args", parse)
    assert read_config(tmp_path, "reuse-key = true\n").reuse_key
    assert capsys.readouterr() == ("", "it is deprecated\n")


def test_g8_live_key_is_obtained_for_all_names_or_none() -> None:
    """Certbot 2.1 deletes the key of a certificate from which it leaves a name out."""
    config = SimpleNamespace(allow_subset_of_names=True)
    asked: list[tuple[str | None, bool]] = []

    def obtain(_: object, key_path: str | None = None) -> None:
        asked.append((key_path, config.allow_subset_of_names))

    client = SimpleNamespace(config=config, obtain_certificate=obtain)
    certbot_guard._LiveKey(client, "key").obtain_certificate(NAMES, None)
    assert asked == [("key", False)] and config.allow_subset_of_names
