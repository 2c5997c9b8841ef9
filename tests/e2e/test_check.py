"""``certbot-pinkeep check``: silent on a sound site, and a line for each planted fault."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from certbot_pinkeep.storage import atomic
from e2e.reasons import COMMAND
from e2e.world import (
    DAY,
    NAME,
    OTHER,
    Bot,
    Pinned,
    changed,
    csrs_of,
    keys,
    live_certificate,
    put_key,
    snippet_of,
    tree,
)
from lab import Apache, Ca, Certbot, Completed, VirtualHost
from lab.waiting import HOST

OK, WARNING, CRITICAL, UNKNOWN = 0, 1, 2, 3
WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")


@dataclass
class Checked(Pinned):
    """A pinned site, set up once; :meth:`restore` undoes what a test did to it."""

    root: Path = Path()

    def save(self) -> None:
        """Note how it is now."""
        self.sites = self.server.sites
        self.config = self.server.config.read_bytes()
        for folder in (self.bot.config_dir, self.bot.work_dir):
            shutil.copytree(folder, self._saved(folder), symlinks=True)

    def restore(self) -> None:
        """Bring it back; Apache, if it may have loaded something else."""
        for folder in (self.bot.config_dir, self.bot.work_dir):
            shutil.rmtree(folder)
            shutil.copytree(self._saved(folder), folder, symlinks=True)
        self.bot.cli_ini.unlink(missing_ok=True)
        if self.loaded:
            self.server.sites = self.sites
            self.server.config.write_bytes(self.config)
            self.server.reload()
            self.loaded = False

    def load(self, extra: str = "") -> None:
        """Have Apache load what is there, with more at the end of its configuration."""
        self.loaded = True
        self.server.write_config(extra)
        self.server.reload()

    def serve(self, site: VirtualHost) -> None:
        """Have Apache serve something else."""
        self.server.sites = (site,)
        self.load()

    def send(self, directive: str) -> None:
        """Have Apache send another header than the snippet's."""
        own = self.bot.folder / "own.conf"
        own.write_text(directive + "\n")
        self.serve(VirtualHost((NAME,), (self.bot.live(NAME),), own))

    def run(self, *more: str) -> None:
        """A run of certbot after which Apache is not reloaded."""
        self.bot.renew(*self.options, "--pinkeep-reload-command=true", *more).check()

    @property
    def certificate_end(self) -> datetime:
        """When the live certificate expires."""
        name = "not_valid_after"  # the aware one is newer than Debian's cryptography
        certificate = live_certificate(self.bot, NAME)
        aware = getattr(certificate, f"{name}_utc", None)
        found: datetime = aware or getattr(certificate, name).replace(tzinfo=timezone.utc)
        return found

    def check(self, *more: str, faketime: timedelta | None = None) -> Completed:
        """``certbot-pinkeep check``, on the lab's ports."""
        ways = [
            f"--connect={HOST}:{self.server.https_port}",
            f"--connect-http={HOST}:{self.server.http_port}",
            f"--ca-file={self.root}",
        ]
        return self.bot.pinkeep("check", *ways, *more, faketime=faketime)

    loaded = False

    def _saved(self, folder: Path) -> Path:
        return self.bot.folder / f"saved-{folder.name}"


@pytest.fixture(scope="module")
def once(
    quick_ca: Ca, quick_root: Path, template: Certbot, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Checked]:
    """The site, set up once for all tests here."""
    folder = tmp_path_factory.mktemp("check")
    with ExitStack() as running:
        bot = Bot(folder / "bot", quick_ca)
        bot.copy_of(template)
        host = VirtualHost((NAME,), (bot.live(NAME),), snippet_of(bot, NAME))
        site = Checked(bot, running.enter_context(Apache(folder / "apache", [host])))
        site.root = quick_root
        site.adopt()
        site.save()
        yield site


@pytest.fixture
def site(once: Checked) -> Iterator[Checked]:
    """The same, and afterwards it is as it was."""
    yield once
    once.restore()


def test_a_sound_site_is_silent(site: Checked) -> None:
    """The summary and exit code 0."""
    done = site.check()
    assert done.output == "PINKEEP OK - 1 keyring, 1 host: keys, headers and files are sound\n"
    assert done.returncode == OK


@COMMAND
def test_it_writes_nothing_and_waits_for_no_lock(site: Checked) -> None:
    """It may run while certbot runs: another one holds the lock, and nothing is changed."""
    before = tree(site.bot.folder, without=["forked", "home", "saved"])
    with atomic.locked(str(site.keyring.parent)):
        assert site.check().returncode == OK
    assert changed(before, tree(site.bot.folder, without=["forked", "home", "saved"])) == []


@COMMAND
def test_the_first_line_is_a_summary(site: Checked) -> None:
    """Of several findings the worst one, and how many more there are; then each, the worst first."""
    (site.bot.config_dir / "keys").chmod(0o755)
    site.keyring.chmod(0o644)
    done = site.check()
    first, *lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (CRITICAL, "")
    assert first.startswith("PINKEEP CRITICAL - ") and first.endswith(" (and 1 more)")
    assert [line.split(":")[0] for line in lines] == ["CRITICAL", "WARNING"]


@COMMAND
def test_a_held_rollover_is_no_warning(site: Checked) -> None:
    """What waits until it is safe is as it should be."""
    site.loaded = True
    site.spend()
    site.rollover("--when-safe").check()
    state = site.state()
    assert (state["due"], state["safe"]) == (True, False)
    assert site.check().returncode == OK


def own_key(site: Checked, name: str = NAME) -> None:
    """Somebody puts a certificate with another key live."""
    site.bot.live(name).mkdir(exist_ok=True)
    put_key(site.bot, name, ec.generate_private_key(ec.SECP256R1()))


def value(site: Checked) -> str:
    """The header that is sent."""
    (found,) = site.server.get(NAME).pins
    return found.replace('"', '\\"')


def backup(site: Checked) -> Path:
    """The file of the first backup key."""
    return keys(site.bot)[site.pins[1]]


def change(path: Path, old: str, new: str) -> None:
    """Edit a file."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def wrong_key_served(site: Checked) -> None:
    """The key in service is not pinned."""
    own_key(site)
    site.load()


def wrong_key_live(site: Checked) -> None:
    """Apache has not loaded it yet."""
    own_key(site)


def another_site_answers(site: Checked) -> None:
    """No virtual host has the name."""
    own_key(site, OTHER)
    site.serve(VirtualHost((OTHER,), (site.bot.live(OTHER),)))


def apache_not_reloaded(site: Checked) -> None:
    """Since the renewal."""
    site.run("--force-renewal")


def policy_not_loaded(site: Checked) -> None:
    """The reload command says yes and does nothing."""
    site.run("--pinkeep-max-age=86400")


def reload_left_to_the_admin(site: Checked) -> None:
    """And not done yet."""
    site.bot.renew(*site.options, "--pinkeep-reload-command=", "--pinkeep-max-age=86400").check()


def reload_failed(site: Checked) -> None:
    """What is published is tried again by the next run."""
    done = site.bot.renew(
        *site.options, "--pinkeep-reload-command=false", "--pinkeep-max-age=86400"
    )
    assert done.returncode == 1


def rolled_over_not_loaded(site: Checked) -> None:
    """The admin reloads Apache, and has not yet since the rollover."""
    site.rollover().check()
    loading = ("--pinkeep-reload-command=", "--force-renewal")
    site.bot.renew(*site.options, *loading).check()


def backup_served_too_early(site: Checked) -> None:
    """By hand; it is pinned, and not in the pins that were sent before."""
    site.loaded = True
    if len(site.pins) == 3:
        site.spend()
    early = load_pem_private_key(backup(site).read_bytes(), None)
    assert isinstance(early, ec.EllipticCurvePrivateKey)
    put_key(site.bot, NAME, early)
    site.load()


def other_type_beside(site: Checked) -> None:
    """Apache has a second certificate, with a key that is not pinned."""
    rsa_ = site.bot.live(NAME).with_name("rsa")
    rsa_.mkdir()
    shutil.copytree(site.bot.live(NAME), site.bot.live(OTHER), symlinks=False)
    put_key(site.bot, NAME, rsa.generate_private_key(65537, 2048))
    for name in ("cert.pem", "fullchain.pem", "privkey.pem"):
        shutil.copyfile(site.bot.live(NAME) / name, rsa_ / name)
        shutil.copyfile(site.bot.live(OTHER) / name, site.bot.live(NAME) / name)
    site.serve(VirtualHost((NAME,), (site.bot.live(NAME), rsa_), site.snippet))


def record_folder_open(site: Checked) -> None:
    """To everybody."""
    site.keyring.parent.chmod(0o777)


def snippet_folder_open(site: Checked) -> None:
    """To everybody."""
    site.snippet.parent.chmod(0o777)


def no_header(site: Checked) -> None:
    """The snippet is not included."""
    site.serve(VirtualHost((NAME,), (site.bot.live(NAME),)))


def two_headers(site: Checked) -> None:
    """Another include sets one in Apache's other table."""
    site.load(
        f'Header onsuccess set Public-Key-Pins "{value(site)}1" "expr=%{{HTTPS}} == \'on\'"\n'
    )


def header_on_http(site: Checked) -> None:
    """It is sent over plain HTTP, too."""
    site.load(f'Header onsuccess set Public-Key-Pins "{value(site)}" "expr=%{{HTTPS}} != \'on\'"\n')


def other_max_age(site: Checked) -> None:
    """Apache sends what is not on record."""
    site.send(f'Header always set Public-Key-Pins "{value(site).replace("5184000", "60")}"')


def pin_missing(site: Checked) -> None:
    """Of a backup."""
    less = value(site).replace(f'pin-sha256=\\"{site.pins[2]}\\"; ', "")
    site.send(f'Header always set Public-Key-Pins "{less}"')


def no_backup_pin(site: Checked) -> None:
    """One pin is none."""
    pin = f'pin-sha256=\\"{site.pins[0]}\\"'
    site.send(f'Header always set Public-Key-Pins "{pin}; {pin}; max-age=5184000"')


def live_pin_missing(site: Checked) -> None:
    """Clients would not note it."""
    less = value(site).replace(f'pin-sha256=\\"{site.pins[0]}\\"; ', "")
    site.send(f'Header always set Public-Key-Pins "{less}"')


def malformed(site: Checked) -> None:
    """max-age is missing."""
    site.send('Header always set Public-Key-Pins "pin-sha256=MISSING"')


def only_reporting(site: Checked) -> None:
    """The header that binds nobody."""
    site.send(f'Header always set Public-Key-Pins-Report-Only "{value(site)}"')


def snippet_edited(site: Checked) -> None:
    """By hand; Apache has not loaded it."""
    change(site.snippet, "max-age=5184000", "max-age=60")


def snippet_gone(site: Checked) -> None:
    """The next reload drops the header."""
    site.snippet.unlink()


def backup_gone(site: Checked) -> None:
    """Its key file."""
    backup(site).unlink()


def backup_is_another_key(site: Checked) -> None:
    """Two files changed places."""
    shutil.copyfile(keys(site.bot)[site.pins[2]], backup(site))


def primary_gone(site: Checked) -> None:
    """The saved one; it is live still."""
    keys(site.bot)[site.pins[0]].unlink()


def key_open(site: Checked) -> None:
    """To everybody."""
    backup(site).chmod(0o644)


def keys_folder_open(site: Checked) -> None:
    """To everybody."""
    (site.bot.config_dir / "keys").chmod(0o755)


def live_key_open(site: Checked) -> None:
    """To everybody."""
    (site.bot.live(NAME) / "privkey.pem").chmod(0o644)


def keyring_file_open(site: Checked) -> None:
    """To everybody."""
    site.keyring.chmod(0o644)


def csr_gone(site: Checked) -> None:
    """Of a backup."""
    for path in csrs_of(site.bot, site.pins[1]):
        path.unlink()


def csr_of_another_key(site: Checked) -> None:
    """Two files changed places."""
    ((path, _),) = csrs_of(site.bot, site.pins[1]).items()
    ((_, other),) = csrs_of(site.bot, site.pins[2]).items()
    path.write_bytes(other)


def another_installer(site: Checked) -> None:
    """The plugin hands over pinned keys under every installer (G11)."""
    change(site.bot.renewal(NAME), "installer = pinkeep", "installer = None")


def no_reuse_key(site: Checked) -> None:
    """A certbot without the plugin would make a new key."""
    change(site.bot.renewal(NAME), "reuse_key = True", "reuse_key = False")


def live_key_of_another(site: Checked) -> None:
    """Apache would not start any more."""
    shutil.copyfile(backup(site), site.bot.live(NAME) / "privkey.pem")


def deleted(site: Checked) -> None:
    """By certbot."""
    site.bot.run("delete", "--cert-name", NAME).check()


def keyring_damaged(site: Checked) -> None:
    """A byte more."""
    site.keyring.write_text(site.keyring.read_text() + "#")


def keyring_lost(site: Checked) -> None:
    """Its copy is there."""
    site.keyring.unlink()


def configtest_failed(site: Checked) -> None:
    """Whatever is wrong with Apache's configuration: the earlier snippet is back."""
    bad = ("--pinkeep-max-age=100", "--pinkeep-configtest-command=false")
    assert site.bot.renew(*site.options, *bad).returncode == 1


def option_refused(site: Checked) -> None:
    """The next run of certbot fails, and takes it out."""
    change(site.bot.renewal(NAME), "[renewalparams]\n", "[renewalparams]\npinkeep_max_age = soon\n")


def installer_in_cli_ini(site: Checked) -> None:
    """The same for every lineage."""
    site.bot.cli_ini.write_text("installer = apache\n")


def compromised(site: Checked) -> None:
    """And still served."""
    site.rollover("--compromised").check()


def subdomain_not_covered(site: Checked) -> None:
    """includeSubDomains binds at the host of a certificate with another key."""
    site.run("--pinkeep-include-subdomains")
    site.load()
    below = f"deep.{NAME}"
    own_key(site, below)
    text = site.bot.renewal(NAME).read_text()
    text = text.replace(f"/{NAME}", f"/{below}").replace("pinkeep", "null")
    site.bot.renewal(below).write_text(text)


RENEW = "Run: certbot renew"
MEND = f"{RENEW} --cert-name {NAME} --force-renewal"
RELOAD = "Reload Apache"

# What is planted, the exit code, what is said of it, and what to do.
FAULTS: list[tuple[Callable[[Checked], None], int, str, str]] = [
    (wrong_key_served, CRITICAL, "which is not among the pins of the keyring", MEND),
    (wrong_key_live, CRITICAL, "its live key", f"Do not reload Apache. {MEND}"),
    (another_site_answers, CRITICAL, f"its certificate is for {OTHER}", "See that a site"),
    (apache_not_reloaded, WARNING, f"does not serve the live certificate of {NAME}", RELOAD),
    (policy_not_loaded, CRITICAL, "still sends an earlier Public-Key-Pins", RELOAD),
    (
        reload_left_to_the_admin,
        WARNING,
        "Apache is not known to have loaded",
        f"Reload Apache, and run: certbot-pinkeep confirm {NAME}",
    ),
    (reload_failed, WARNING, "Apache is not known to have loaded", RENEW),
    (
        rolled_over_not_loaded,
        WARNING,
        "Apache is not known to have loaded",
        f"Reload Apache, and run: certbot-pinkeep confirm {NAME}",
    ),
    (
        backup_served_too_early,
        CRITICAL,
        "is pinned, but not everywhere. Clients",
        "Serve an earlier certificate of that key again",
    ),
    (other_type_beside, CRITICAL, "which is not among the pins of the keyring", "Take the RSA"),
    (record_folder_open, CRITICAL, "(mode 0777, user 0)", "Run: chmod go-w /"),
    (snippet_folder_open, CRITICAL, "its mode is 0777", "Run: chmod go-w /"),
    (
        no_header,
        CRITICAL,
        f"It belongs to: {NAME} in <VirtualHost> (",
        "Run: certbot-pinkeep setup",
    ),
    (two_headers, CRITICAL, "sends Public-Key-Pins 2 times", "Include the snippet once"),
    (header_on_http, WARNING, "over plain HTTP", "Take out the other line"),
    (other_max_age, CRITICAL, "max-age is 60, not 5184000", RELOAD),
    (pin_missing, CRITICAL, "it lacks the pin", RELOAD),
    (no_backup_pin, CRITICAL, "Clients do not note it (RFC 7469 §2.5): it has no backup", RELOAD),
    (live_pin_missing, CRITICAL, "the served key is not among its pins", RELOAD),
    (malformed, CRITICAL, "that clients ignore (RFC 7469 §2.1)", RELOAD),
    (
        only_reporting,
        CRITICAL,
        "no Public-Key-Pins, but Public-Key-Pins-Report-Only",
        "certbot-pinkeep setup",
    ),
    (snippet_edited, CRITICAL, "the snippet is not what was published", RENEW),
    (snippet_gone, CRITICAL, "the snippet is gone", RENEW),
    (backup_gone, CRITICAL, "cannot be read: No such file", "Restore /"),
    (backup_is_another_key, CRITICAL, "holds another key", "Restore /"),
    (primary_gone, CRITICAL, "The next renewal needs that key", "Restore /"),
    (key_open, CRITICAL, "its mode is 0644", "Run: chmod 0600 /"),
    (keys_folder_open, CRITICAL, "its mode is 0755", "Run: chmod 0700 /"),
    (live_key_open, CRITICAL, "its mode is 0644", "Run: chmod o= /"),
    (keyring_file_open, WARNING, "its mode is 0644", "Run: chmod 0600 /"),
    (csr_gone, WARNING, "has no saved CSR", RENEW),
    (csr_of_another_key, WARNING, "has no saved CSR", RENEW),
    (no_reuse_key, WARNING, "has no 'reuse_key = True'", RENEW),
    (live_key_of_another, CRITICAL, "does not belong to the certificate beside it", MEND),
    (deleted, WARNING, "no certificate of the keyring any more", "Run: certbot certonly"),
    (
        configtest_failed,
        WARNING,
        "the configuration test of Apache failed",
        "Run: /usr/bin/false -- mend",
    ),
    (option_refused, WARNING, "--pinkeep-max-age 'soon'", "pinkeep --pinkeep-max-age VALUE"),
    (keyring_damaged, CRITICAL, "its checksum is wrong", "Restore the file from a backup"),
    (keyring_lost, WARNING, "was lost. pinkeep rolls no key over", RENEW),
    (compromised, CRITICAL, "which is compromised", f"certbot-pinkeep rollover {NAME} --now"),
    (subdomain_not_covered, CRITICAL, "includeSubDomains covers", f"--pinkeep-keyring {NAME}"),
]


@COMMAND
@pytest.mark.parametrize(
    ("plant", "code", "what", "todo"), FAULTS, ids=[fault[0].__name__ for fault in FAULTS]
)
def test_each_planted_fault_is_found(
    site: Checked, plant: Callable[[Checked], None], code: int, what: str, todo: str
) -> None:
    """The exit code, the summary's word, and one line with what is wrong and what to do."""
    plant(site)
    check_told(site.check(), code, what, todo)


def check_told(done: Completed, code: int, what: str, todo: str) -> None:
    """Assert that a fault is told, in a line that is as bad as the exit code."""
    assert done.returncode == code, done.output
    summary, *lines = done.stdout.splitlines()
    assert summary.startswith(f"PINKEEP {WORDS[code]} - ") and done.stderr == ""
    told = [line for line in lines if what in line]
    assert len(told) == 1, done.output
    assert told[0].startswith(f"{WORDS[code]}: ") and todo in told[0]


# What the line says is to be run, and after that nothing is found any more.
MENDS: list[tuple[Callable[[Checked], None], str]] = [
    (wrong_key_served, f"renew --cert-name {NAME} --force-renewal"),
    (wrong_key_live, f"renew --cert-name {NAME} --force-renewal"),
    (reload_failed, "renew"),
    (snippet_edited, "renew"),
    (snippet_gone, "renew"),
    (backup_gone, "renew"),
    (backup_is_another_key, "renew"),
    (primary_gone, "renew"),
    (csr_gone, "renew"),
    (csr_of_another_key, "renew"),
    (no_reuse_key, f"renew --cert-name {NAME}"),
    (live_key_of_another, f"renew --cert-name {NAME} --force-renewal"),
    (configtest_failed, "renew"),
    (keyring_lost, "renew"),
]


@COMMAND
@pytest.mark.parametrize("plant", [another_installer, installer_in_cli_ini])
def test_g11_another_installer_is_sound(site: Checked, plant: Callable[[Checked], None]) -> None:
    """Find no fault with a lineage that another installer renews."""
    plant(site)
    assert site.check().returncode == 0


@pytest.mark.parametrize(("plant", "words"), MENDS, ids=[plant[0].__name__ for plant in MENDS])
def test_what_is_to_be_done_mends_it(
    site: Checked, plant: Callable[[Checked], None], words: str
) -> None:
    """The command of the line, with the lab's Apache, and the site is sound again."""
    plant(site)
    told = site.check()
    assert told.returncode != OK and f"certbot {words}" in told.stdout
    verb, *more = words.split()
    site.bot.run(verb, *site.bot.account, *more, *site.commands)
    site.load()
    assert site.check().output.startswith("PINKEEP OK")


@COMMAND
def test_a_backup_that_is_served_too_early_can_be_taken_back(site: Checked) -> None:
    """g2: nobody is locked out any more once the certificate of before is served."""
    site.loaded = True
    site.spend()
    archive = site.bot.config_dir / "archive"
    before = shutil.copytree(archive, site.bot.folder / "archive-before")
    backup_served_too_early(site)
    assert site.check().returncode == CRITICAL
    shutil.copytree(before, archive, dirs_exist_ok=True)
    site.load()
    assert site.check().output.startswith("PINKEEP OK")


@COMMAND
def test_times_are_looked_at(site: Checked) -> None:
    """A renewal that is overdue, a certificate that has expired, a clock that was set back."""
    left = site.certificate_end - datetime.now(timezone.utc)
    renew = f"--cert-name {NAME}"
    check_told(site.check(faketime=left - 14 * DAY), WARNING, "Certbot should have renewed", renew)
    check_told(site.check(faketime=left + DAY), CRITICAL, "its certificate expired at", renew)
    check_told(site.check(faketime=-DAY), WARNING, "was reached before", "--clock")


@COMMAND
@pytest.mark.parametrize(
    ("more", "code", "what", "todo"),
    [
        ("--connect=127.0.0.1:1", UNKNOWN, "could not be reached", "--connect HOST:PORT"),
        (
            "--connect={http}",
            CRITICAL,
            "no TLS connection came about",
            "See the server's error log",
        ),
        ("--ca-file={other}", WARNING, "does not trust its certificate", "--ca-file"),
    ],
)
def test_what_cannot_be_looked_at_is_told(
    site: Checked, more: str, code: int, what: str, todo: str
) -> None:
    """Nothing listens there; it is no TLS; its CA is nobody's."""
    http, other = f"{HOST}:{site.server.http_port}", site.bot.folder / "other.pem"
    own_key(site, OTHER)
    shutil.copyfile(site.bot.live(OTHER) / "cert.pem", other)
    check_told(site.check(more.format(http=http, other=other)), code, what, todo)


@COMMAND
@pytest.mark.parametrize("words", [("nothing.test",), ("--ca-file=/missing",), ("../x",)])
def test_what_cannot_be_checked_is_unknown(site: Checked, words: tuple[str, ...]) -> None:
    """One line on standard output, as monitoring takes it."""
    done = site.check(*words)
    assert (done.returncode, done.stderr) == (UNKNOWN, "")
    (line,) = done.stdout.splitlines()
    assert line.startswith("PINKEEP UNKNOWN - ")


@COMMAND
def test_without_a_keyring_it_is_unknown(empty_bot: Bot) -> None:
    """And the line says how to get one."""
    empty_bot.config_dir.mkdir()
    done = empty_bot.pinkeep("check")
    assert (done.returncode, done.stderr) == (UNKNOWN, "")
    assert "Run: certbot-pinkeep pin NAME" in done.stdout
