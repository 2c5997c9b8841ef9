"""Revocations: by certbot, by a CA that blocks a key, and by others. What is left, and when (G2, G3)."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from functools import partial
from itertools import product
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from e2e.world import (
    DAY,
    HOUR,
    NAME,
    OFFLINE,
    OTHER,
    Bot,
    Pinned,
    changed,
    clock_at,
    csr_pin,
    live_certificate,
    said,
    times_in,
    tree,
)
from lab import Completed, Wget2, wait_for
from lab.processes import Daemon, clean_env
from lab.waiting import HOST, Ports, accepts

REASONS = ("unspecified", "superseded", "keycompromise")
# If certbot 2.1 prints something else (it cannot pass its CA's errors on), its log has the words.
ALREADY = "Certificate has already been revoked"
FORCE = f"certbot-pinkeep rollover {NAME} --now --force"


class Offline(Pinned):
    """A site of which only the files are looked at."""

    def __init__(self, bot: Bot) -> None:
        self.bot = bot
        self.name = NAME

    def __repr__(self) -> str:
        return f"Offline({self.bot})"

    @property
    def options(self) -> list[str]:
        """The options without an Apache."""
        return OFFLINE

    def issue(self, faketime: timedelta | None = None) -> Completed:
        """``renew``, or ``certonly`` if the lineage is deleted."""
        if self.bot.live(NAME).exists():
            return self.bot.renew("--force-renewal", *OFFLINE, faketime=faketime)
        return self.bot.certonly("-d", NAME, *OFFLINE, *ONE, faketime=faketime)


ONE = ["--pinkeep-backup-keys=1"]


@pytest.fixture
def adopted(bot: Bot) -> Offline:
    """A pinned lineage with one backup key, which is safe, and a certificate of its own."""
    site = Offline(bot)
    bot.renew("--force-renewal", *OFFLINE, *ONE).check()
    return site


# By certbot


@pytest.mark.parametrize(
    ("how", "delete", "reason"), [*product(["name", "key"], [False, True], REASONS)]
)
def test_g2_g3_each_way_to_revoke(adopted: Offline, how: str, delete: bool, reason: str) -> None:
    """Safe: the next issuance rolls over. Not safe: it keeps the key, but never a compromised one."""
    bot = adopted.bot
    old, new = adopted.pins
    revoke(adopted, how, delete, reason).check()
    assert bot.live(NAME).exists() == (not delete)
    state = adopted.state()
    assert (state["due"], state["requested"], state["safe"]) == (True, False, True)
    assert (adopted.role(old) == "compromised") == (reason == "keycompromise")
    adopted.issue().check()
    assert adopted.live_pin == new
    assert not adopted.state()["due"]
    adopted.check_whole()

    third = adopted.pins[1]
    told = revoke(adopted, how, delete, reason).check()
    safe = adopted.safe_from()
    assert safe in times_in(told.output)
    assert not adopted.state()["safe"]
    if reason == "keycompromise":
        before, pins = tree(bot.config_dir, without=["accounts/"]), adopted.pins
        done = adopted.issue()
        assert done.returncode == 1
        assert (FORCE.replace(" --now", "") if delete else FORCE) in said(done)
        assert safe in times_in(done.output)
        # The record is brought up to date; no key, certificate or pin is another one.
        after = changed(before, tree(bot.config_dir, without=["accounts/"]))
        assert all(path.startswith("pinkeep/") for path in after) and adopted.pins == pins
    else:
        done = adopted.issue().check()
        assert adopted.live_pin == new
        assert safe in times_in(done.output)
        adopted.check_whole()
    assert adopted.state()["due"]
    adopted.issue(faketime=clock_at(safe) + HOUR).check()
    assert adopted.live_pin == third
    assert set(adopted.pins).isdisjoint({old, new})
    adopted.check_whole()


def revoke(site: Pinned, how: str, delete: bool, reason: str) -> Completed:
    """``certbot revoke`` by the lineage's name, or with the certificate's own key."""
    live = site.bot.live(NAME)
    which = (
        [f"--cert-name={NAME}"]
        if how == "name"
        else [f"--cert-path={live / 'cert.pem'}", f"--key-path={live / 'privkey.pem'}"]
    )
    after = "--delete-after-revoke" if delete else "--no-delete-after-revoke"
    return site.revoke(*which, after, f"--reason={reason}")


def test_g2_revoked_while_nothing_is_safe(site: Pinned, regular: Wget2) -> None:
    """Superseded, then compromised: those who hold the pins are served all the time."""
    site.spend()
    key, new = site.pins
    safe, serial = site.safe_from(), site.live_serial
    assert regular.visit(site.url).accepted

    site.revoke(f"--cert-name={NAME}", "--no-delete-after-revoke", "--reason=superseded").check()
    site.renew()
    assert site.live_serial != serial
    assert site.server.served_pin(NAME) == key
    assert regular.visit(site.url).accepted

    serial = site.live_serial
    site.revoke(f"--cert-name={NAME}", "--no-delete-after-revoke", "--reason=keycompromise").check()
    assert site.bot.renew("--force-renewal", *site.options).returncode == 1
    assert site.server.served_serial(NAME) == site.live_serial == serial
    assert regular.visit(site.url).accepted

    after = clock_at(safe) + HOUR
    site.renew(faketime=after)
    assert site.server.served_pin(NAME) == site.live_pin == new
    assert regular.visit(site.url, faketime=after).accepted
    site.check_whole()


def test_g2_revoked_and_deleted(pinned: Pinned, regular: Wget2) -> None:
    """Issued anew under the same name, the site is served with the backup, to whoever came before."""
    new = pinned.pins[1]
    pinned.renew()  # a certificate of its own
    assert regular.visit(pinned.url).accepted
    revoke(pinned, "name", True, "keycompromise").check()
    with pinned.server.reloading():
        pinned.bot.certonly("-d", NAME, *pinned.options).check()
    assert pinned.server.served_pin(NAME) == new
    assert regular.visit(pinned.url).accepted
    pinned.check_whole()


def test_g2_certonly_after_deletion_keeps_the_pins(site: Pinned, regular: Wget2) -> None:
    """The key goes on if nothing else is safe, though its lineage and its options were deleted."""
    site.spend()
    key = site.live_pin
    assert regular.visit(site.url).accepted
    revoke(site, "name", True, "superseded").check()
    with site.server.reloading():
        site.bot.certonly("-d", NAME, *site.options, *ONE).check()
    assert site.server.served_pin(NAME) == key
    assert regular.visit(site.url).accepted
    site.check_whole()


@pytest.mark.parametrize("delete", [False, True])
def test_the_command_that_the_error_names_helps(adopted: Offline, delete: bool) -> None:
    """A compromised key, no backup that is safe: what the error says to run makes it renew."""
    adopted.rollover().check()
    adopted.issue().check()
    key, new = adopted.pins
    revoke(adopted, "name", delete, "keycompromise").check()
    done = adopted.issue()
    assert done.returncode == 1
    (command,) = re.findall(r"certbot-pinkeep rollover [a-z.]+(?: --[a-z]+)+", said(done))
    adopted.bot.pinkeep(*command.split()[1:]).check()
    adopted.issue().check()
    assert adopted.live_pin == new
    assert adopted.role(key) == "compromised"
    adopted.check_whole()


def test_g9_revoking_a_foreign_certificate(adopted: Offline) -> None:
    """A certificate of a lineage that is not pinned: nothing of ours is touched, nothing is said."""
    bot = adopted.bot
    bot.certonly("-d", OTHER).check()
    before = tree(bot.config_dir)
    adopted.revoke(f"--cert-name={OTHER}", "--no-delete-after-revoke").check()
    assert changed(before, tree(bot.config_dir)) == []
    revoke(adopted, "name", False, "unspecified").check()
    assert changed(before, tree(bot.config_dir)) == [f"pinkeep/{NAME}.conf"]


def test_a_revocation_that_fails_notes_nothing(bot: Bot) -> None:
    """The CA says that the certificate is revoked already: that is no news of the key."""
    site = Offline(bot)
    bot.renew("--force-renewal", "--reuse-key").check()
    cert = bot.config_dir / "archive" / NAME / "cert2.pem"
    call = [f"--cert-path={cert}", "--no-delete-after-revoke", "--reason=keycompromise"]
    # While nothing is pinned; the key goes on.
    site.revoke(*call).check()
    bot.renew("--force-renewal", *OFFLINE, *ONE).check()
    before = tree(bot.config_dir)
    done = site.revoke(*call)
    assert done.returncode == 1
    assert ALREADY in bot.log.read_text()
    assert changed(before, tree(bot.config_dir)) == []
    assert not site.state()["due"]
    revoke(site, "name", False, "keycompromise").check()
    assert site.state()["due"]


def test_g8_g9_a_damaged_keyring_does_not_stop_a_revocation(adopted: Offline) -> None:
    """The certificate is revoked; the error says what to do, and doing it makes it roll over."""
    bot, new = adopted.bot, adopted.pins[1]
    good = adopted.keyring.read_bytes()
    adopted.keyring.write_bytes(good[:-10])
    done = revoke(adopted, "name", False, "keycompromise").check()
    assert str(adopted.keyring) in said(done)
    assert "certbot-pinkeep rollover" in said(done)
    assert "--compromised" in said(done)
    assert adopted.keyring.read_bytes() == good[:-10]
    again = revoke(adopted, "name", False, "keycompromise")
    assert again.returncode == 1
    assert ALREADY in bot.log.read_text()

    adopted.keyring.write_bytes(good)
    adopted.rollover("--compromised", "--when-safe").check()
    adopted.issue().check()
    assert adopted.live_pin == new
    assert bot.pinkeep("status").returncode == 0


def test_a_lineage_of_another_installer_is_noticed_too(adopted: Offline) -> None:
    """Its next renewal leaves the key that was revoked, whatever installer it has."""
    bot, (old, new) = adopted.bot, adopted.pins
    other = ["--force-renewal", "--installer", "null"]
    bot.renew(*other).check()
    assert adopted.live_pin == old
    revoke(adopted, "name", False, "superseded").check()
    assert adopted.state()["due"]
    bot.renew(*other).check()
    assert adopted.live_pin == new
    adopted.check_whole()


def test_revoking_what_was_replaced(adopted: Offline) -> None:
    """A certificate of a key that was left long ago: the present key is not to be left for it."""
    bot, (old, new) = adopted.bot, adopted.pins
    adopted.rollover().check()
    adopted.issue().check()
    assert adopted.live_pin == new
    cert = bot.config_dir / "archive" / NAME / "cert2.pem"
    call = [f"--cert-path={cert}", "--no-delete-after-revoke", "--reason=keycompromise"]
    adopted.revoke(*call).check()
    assert not adopted.state()["due"]
    assert adopted.role(old) == "compromised"
    adopted.issue().check()
    assert adopted.live_pin == new
    adopted.check_whole()


# By a CA that blocks a key


def block(detail: str, *pins: str, code: str = "badCSR") -> None:
    """Let the CA refuse every CSR of these keys."""
    from acme import client, messages

    real = client.ClientV2.finalize_order

    def finalize_order(self: object, order: object, *args: object, **named: object) -> object:
        csr = x509.load_pem_x509_csr(order.csr_pem)  # type: ignore[attr-defined]
        if csr_pin(csr) in pins:
            raise messages.Error.with_code(code, detail=detail)
        return real(self, order, *args, **named)  # type: ignore[arg-type]

    setattr(client.ClientV2, "finalize_order", finalize_order)  # noqa: B010


FORBIDDEN = "Error finalizing order :: public key is forbidden"


def test_g2_g3_a_blocked_key_is_replaced_in_the_same_renewal(
    pinned: Pinned, regular: Wget2
) -> None:
    """The CA refuses the key: the first backup is served. If it refuses that as well, it may be
    the request that it dislikes: the backup is only left when it is refused once more."""
    old, new, third = pinned.pins
    assert regular.visit(pinned.url).accepted
    call = ["--force-renewal", *pinned.options]
    blocked = partial(block, FORBIDDEN, old, new)
    done = pinned.bot.fork_renew(*call, before=blocked)
    assert done.returncode == 1
    assert old in said(done)
    assert FORBIDDEN in said(done)
    assert (pinned.role(old), pinned.role(new)) == ("compromised", "backup")
    with pinned.server.reloading():
        pinned.bot.fork_renew(*call, before=blocked).check()
    assert pinned.server.served_pin(NAME) == pinned.live_pin == third
    assert regular.visit(pinned.url).accepted
    assert (pinned.role(old), pinned.role(new)) == ("compromised", "compromised")
    assert set(pinned.pins).isdisjoint({old, new})
    pinned.check_whole()
    pinned.renew()
    assert pinned.live_pin == third


def test_g3_a_backup_that_the_ca_does_not_take_holds_no_renewal_up(pinned: Pinned) -> None:
    """The next one is served, in the same renewal; if it takes none, the present key goes on. Only
    what it takes no other key in place of is not said to be the backup's fault."""
    _, first, second = pinned.pins
    words = "invalid public key in CSR: ECDSA curve P-521 not allowed"
    call = ["--force-renewal", *pinned.options]
    pinned.rollover().check()
    with pinned.server.reloading():
        done = pinned.bot.fork_renew(*call, before=partial(block, words, first)).check()
    assert pinned.server.served_pin(NAME) == pinned.live_pin == second
    assert f"certbot-pinkeep backup {NAME} drop {first}" in said(done)

    pinned.rollover("--when-safe").check()
    staged = [pin for pin in pinned.pins if pin != second]
    refused = pinned.bot.fork_renew(*call, before=partial(block, words, second, *staged))
    assert refused.returncode == 1 and words in said(refused) and " drop " not in said(refused)
    with pinned.server.reloading():
        pinned.bot.fork_renew(*call, before=partial(block, words, *staged)).check()
    assert pinned.server.served_pin(NAME) == pinned.live_pin == second
    pinned.check_whole()


def test_g3_a_blocked_key_while_nothing_is_safe(site: Pinned, regular: Wget2) -> None:
    """The error names the command and the time; the old certificate is served; in time it renews."""
    site.spend()
    key, new = site.pins
    safe, serial = site.safe_from(), site.live_serial
    assert regular.visit(site.url).accepted
    call = ["--force-renewal", *site.options]
    done = site.bot.fork_renew(*call, before=partial(block, FORBIDDEN, key))
    assert done.returncode == 1
    assert FORBIDDEN in said(done)
    assert FORCE in said(done)
    assert safe in times_in(done.output)
    assert site.role(key) == "compromised"
    assert site.server.served_serial(NAME) == site.live_serial == serial
    assert regular.visit(site.url).accepted
    done = site.bot.renew(*call)  # not even asked for again
    assert done.returncode == 1
    assert FORCE in said(done)
    after = clock_at(safe) + HOUR
    site.renew(faketime=after)
    assert site.server.served_pin(NAME) == site.live_pin == new
    assert regular.visit(site.url, faketime=after).accepted


@pytest.mark.parametrize("verb", ["renew", "certonly", "new"])
def test_a_blocked_key_whatever_the_verb(adopted: Offline, verb: str) -> None:
    """`certonly` for the lineage, and for one that was deleted, take the backup just as well."""
    bot, (old, new) = adopted.bot, adopted.pins
    call = ["renew", *bot.account, "--force-renewal"]
    if verb != "renew":
        call = ["certonly", *bot.account, *bot.by_http, "-d", NAME, "--force-renewal"]
    if verb == "new":
        bot.run("delete", "--cert-name", NAME).check()
    bot.fork(*call, *OFFLINE, *ONE, before=partial(block, FORBIDDEN, old)).check()
    assert adopted.live_pin == new
    assert adopted.role(old) == "compromised"
    adopted.check_whole()


@pytest.mark.parametrize(
    ("code", "detail"),
    [
        ("rateLimited", "too many certificates already issued; see blocked domains"),
        ("badCSR", "CSR contains too many names"),
        ("serverInternal", "Error finalizing order"),
        ("unauthorized", "the account is forbidden to do that"),
    ],
)
def test_g3_other_errors_of_the_ca_mark_no_key(adopted: Offline, code: str, detail: str) -> None:
    """The renewal fails with the CA's words, nothing is noted, and the next one keeps the key."""
    bot, (old, _) = adopted.bot, adopted.pins
    before = tree(bot.config_dir)
    err = partial(block, detail, old, code=code)
    done = bot.fork_renew("--force-renewal", *OFFLINE, before=err)
    assert done.returncode == 1
    assert detail in said(done)
    assert changed(before, tree(bot.config_dir)) == []
    adopted.issue().check()
    assert adopted.live_pin == old


def test_a_dry_run_marks_no_key(adopted: Offline) -> None:
    """The CA's test server refuses the key: said, not noted."""
    bot, (old, _) = adopted.bot, adopted.pins
    before = tree(bot.config_dir)
    done = bot.fork_renew("--dry-run", *OFFLINE, before=partial(block, FORBIDDEN, old))
    assert done.returncode == 1
    assert FORBIDDEN in said(done)
    assert changed(before, tree(bot.config_dir)) == []


# Elsewhere


class Elsewhere:
    """A little CA that issues for a key that is live, and publishes a list of what it revoked."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._ports = Ports(1)
        (self._port,) = self._ports.numbers
        self._daemon: Daemon | None = None
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Elsewhere")])
        self._now = datetime.now(timezone.utc).replace(tzinfo=None)
        self._ca = (
            self._builder(self._name)
            .public_key(self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self._serial = 0

    def put_live(self, bot: Bot) -> None:
        """Put a certificate for the same key and names in place of the live one."""
        old = live_certificate(bot, NAME)
        names = old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        url = x509.UniformResourceIdentifier(f"http://{HOST}:{self._port}/list.crl")
        leaf = (
            self._builder(x509.Name([]))
            .public_key(old.public_key())
            .add_extension(names, critical=True)
            .add_extension(
                x509.CRLDistributionPoints([x509.DistributionPoint([url], None, None, None)]),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        self._serial = leaf.serial_number
        cert, chain = leaf.public_bytes(Encoding.PEM), self._ca.public_bytes(Encoding.PEM)
        live = bot.live(NAME)
        for name, content in (("cert", cert), ("chain", chain), ("fullchain", cert + chain)):
            (live / f"{name}.pem").resolve().write_bytes(content)

    def serve(self, reason: x509.ReasonFlags | None) -> None:
        """Serve the list, with the certificate on it for this reason, or not on it."""
        crl = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name)
            .last_update(self._now - DAY)
            .next_update(self._now + 3650 * DAY)
        )
        if reason is not None:
            entry = (
                x509.RevokedCertificateBuilder()
                .serial_number(self._serial)
                .revocation_date(self._now - HOUR)
                .add_extension(x509.CRLReason(reason), critical=False)
            )
            crl = crl.add_revoked_certificate(entry.build())
        signed = crl.sign(self._key, hashes.SHA256())
        (self._folder / "list.crl").write_bytes(signed.public_bytes(Encoding.DER))
        # A process of its own: the certbots here are forks of this one.
        command = [sys.executable, "-m", "http.server", str(self._port)]
        command += [f"--bind={HOST}", f"--directory={self._folder}"]
        daemon = self._daemon = Daemon(command, self._folder / "log", clean_env())
        wait_for(lambda: daemon.alive() and accepts(self._port), "the list's server")

    def asked(self) -> int:
        """How often the list was asked for."""
        log = self._folder / "log"
        return log.read_text().count('"GET /list.crl') if log.exists() else 0

    def stop(self) -> None:
        """End it."""
        if self._daemon:
            self._daemon.stop()
        self._ports.release()

    def _builder(self, subject: x509.Name) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - 2 * DAY)
            .not_valid_after(self._now + 3650 * DAY)
        )


@pytest.fixture
def offline(tmp_path: Path) -> Iterator[Elsewhere]:
    """A CA with a list of its own; its server is down until told to serve."""
    made = Elsewhere(tmp_path / "elsewhere")
    yield made
    made.stop()


@pytest.mark.parametrize("flag", [x509.ReasonFlags.superseded, x509.ReasonFlags.key_compromise])
def test_g2_g3_revoked_by_others(
    adopted: Offline, offline: Elsewhere, flag: x509.ReasonFlags
) -> None:
    """Noticed at the renewal, which rolls over if that is safe, as after `certbot revoke`."""
    bot, (old, new) = adopted.bot, adopted.pins
    offline.put_live(bot)
    offline.serve(flag)
    bot.renew(*OFFLINE).check()
    assert offline.asked() == 0  # not due
    assert not adopted.state()["due"]
    adopted.issue().check()
    assert offline.asked() == 1
    assert adopted.live_pin == new
    compromised = flag is x509.ReasonFlags.key_compromise
    assert adopted.role(old) == ("compromised" if compromised else "retired")
    adopted.check_whole()


@pytest.mark.parametrize("flag", [x509.ReasonFlags.superseded, x509.ReasonFlags.key_compromise])
def test_g2_g3_revoked_by_others_while_nothing_is_safe(
    adopted: Offline, offline: Elsewhere, flag: x509.ReasonFlags
) -> None:
    """The key goes on until it is safe; a compromised one does not, and the old certificate stays."""
    bot = adopted.bot
    adopted.rollover().check()
    adopted.issue().check()
    key, third = adopted.pins
    safe = adopted.safe_from()
    offline.put_live(bot)
    offline.serve(flag)
    serial = adopted.live_serial
    done = adopted.issue()
    assert safe in times_in(done.output)
    assert adopted.state()["due"]
    if flag is x509.ReasonFlags.key_compromise:
        assert done.returncode == 1
        assert FORCE in said(done)
        assert adopted.live_serial == serial
    else:
        done.check()
        assert adopted.live_serial != serial
    assert adopted.live_pin == key
    adopted.issue(faketime=clock_at(safe) + HOUR).check()
    assert adopted.live_pin == third
    adopted.check_whole()


def test_g3_not_revoked_by_others(adopted: Offline, offline: Elsewhere) -> None:
    """The list is read, the certificate is not on it: the key is kept, and nothing is said."""
    old = adopted.live_pin
    offline.put_live(adopted.bot)
    offline.serve(None)
    done = adopted.issue().check()
    assert offline.asked() == 1
    assert "is unknown" not in said(done)
    assert adopted.live_pin == old
    assert not adopted.state()["due"]


def test_g3_nobody_answers(adopted: Offline, offline: Elsewhere) -> None:
    """Whether it is revoked is unknown: said once, and the renewal goes on with the key."""
    old = adopted.live_pin
    offline.put_live(adopted.bot)
    serial = adopted.live_serial
    done = adopted.issue().check()
    assert said(done).count("is unknown") == 1
    assert adopted.live_serial != serial
    assert adopted.live_pin == old
    assert not adopted.state()["due"]


def test_a_dry_run_of_what_is_revoked_by_others(adopted: Offline, offline: Elsewhere) -> None:
    """It is issued as the renewal would be, and nothing is noted."""
    bot = adopted.bot
    offline.put_live(bot)
    offline.serve(x509.ReasonFlags.key_compromise)
    bot.renew(*OFFLINE).check()
    before = tree(bot.config_dir)
    bot.renew("--dry-run", *OFFLINE).check()
    assert changed(before, tree(bot.config_dir)) == []
    assert not adopted.state()["due"]
