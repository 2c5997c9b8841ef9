"""Handing over the CSR, with a client that stands for certbot's (G1, G9)."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from certbot import errors, util
from helpers import certificate, csr_pem, make_pem, pin_of_key

from certbot_pinkeep import handoff
from certbot_pinkeep.csrs import SavedCsr
from certbot_pinkeep.errors import NotSafe, Unsupported
from certbot_pinkeep.keeper import Handover

NAMES = ["example.com", "www.example.com"]
KEY, OTHER = make_pem(), make_pem()
CSR = SavedCsr("/etc/csr/0000_csr-certbot.pem", csr_pem(KEY, NAMES))
HANDED = Handover("/etc/keys/0000_key-certbot.pem", KEY, CSR, pin_of_key(KEY))
CHAIN = b"chain"


class Pinning:
    """An installer of ours."""

    def __init__(self, handed: Handover | None = HANDED, error: Exception | None = None) -> None:
        self.handed = handed
        self.error = error
        self.asked: list[tuple[list[str], str | None, bool]] = []
        self.stored: list[bytes] = []

    def handover(
        self, names: list[str], live_key_path: str | None, dry_run: bool
    ) -> Handover | None:
        """What the test says."""
        self.asked.append((names, live_key_path, dry_run))
        if self.error:
            raise self.error
        return self.handed

    def issued(self, certificate: bytes) -> None:
        """Note it."""
        self.stored.append(certificate)


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
            return certificate(self.issued_for, NAMES), CHAIN

        def _get_order_and_authorizations(self, csr_pem: bytes, best_effort: bool) -> object:
            raise AssertionError("not for all names at once")

    monkeypatch.setattr(handoff, "certbot_client", SimpleNamespace(Client=Client))
    renewal = SimpleNamespace(_avoid_reuse_key_conflicts=renewal_check)
    monkeypatch.setattr(handoff, "certbot_renewal", renewal)
    handoff.wrap(Pinning)
    setattr(Client, "renewal", renewal)  # noqa: B010
    return Client


@pytest.mark.parametrize("kind", [Pinning, Installed])
def test_g1_certificate_is_issued_for_the_saved_csr(client: Any, kind: type[Pinning]) -> None:
    """Certbot gets the key and CSR that were handed over, byte for byte, and never makes its own."""
    installer = kind()
    one = client(installer)
    made, chain, key, csr = one.obtain_certificate(NAMES, "/live/x/privkey.pem")
    assert (chain, key.file, key.pem) == (CHAIN, HANDED.key_path, KEY)
    assert one.csrs == [csr] and (csr.file, csr.data, csr.form) == (CSR.path, CSR.pem, "pem")
    assert installer.asked == [(NAMES, "/live/x/privkey.pem", False)]
    assert installer.stored == [made] and one.originals == []


def test_g1_certificate_for_another_key_is_not_stored(client: Any) -> None:
    """The CA returns another key's certificate: an error, and certbot's own way is not tried."""
    installer = Pinning()
    one = client(installer)
    one.issued_for = OTHER
    with pytest.raises(errors.Error, match="old certificate stays") as caught:
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
    """Where there is no keyring yet, certbot makes the first key, and we are told."""
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


def test_wrapping_twice_wraps_once(client: Any) -> None:
    """Certbot loads plugins more than once."""
    before = client.obtain_certificate
    handoff.wrap(Pinning)
    assert client.obtain_certificate is before


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
    monkeypatch.setattr(handoff, "certbot_renewal", known)
    monkeypatch.setattr(handoff, "certbot_client", SimpleNamespace(Client=Client))
    monkeypatch.setattr(Client, name, changed)
    before = Client.obtain_certificate
    with pytest.raises(Unsupported, match="reuse_key"):
        handoff.wrap(Pinning)
    assert Client.obtain_certificate is before


def config(installer: str, verb: str, key_type: str) -> Any:
    """Certbot's configuration, as far as it is looked at."""
    return SimpleNamespace(installer=installer, verb=verb, key_type=key_type)


LINEAGE = SimpleNamespace(lineagename="example.com", private_key_type="RSA")


def test_g3_other_key_type_in_cli_ini_does_not_block_a_renewal(client: Any) -> None:
    """A pinned key is renewed though new keys would be of another kind."""
    checked = client.renewal._avoid_reuse_key_conflicts
    checked(config("pinkeep", "renew", "ecdsa"), LINEAGE)
    checked(config("pinkeep", "certonly", "rsa"), LINEAGE)
    with pytest.raises(errors.Error, match="--key-type 'ecdsa'"):
        checked(config("pinkeep", "certonly", "ecdsa"), LINEAGE)


def test_g9_key_conflicts_of_other_installers_are_certbots(client: Any) -> None:
    """Certbot's own refusal stays in force for everybody else."""
    with pytest.raises(errors.Error, match="own refusal"):
        client.renewal._avoid_reuse_key_conflicts(config("apache", "renew", "x"), LINEAGE)
