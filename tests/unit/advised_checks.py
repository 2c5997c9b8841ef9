"""What ``check`` and ``status`` say, and what comes of it: rows for ``test_advice_followed.py``."""

from __future__ import annotations

from cryptography.hazmat.primitives import serialization
from followed import Row, done, gone, sound
from helpers import csr_pem, make_pem
from server import Server

CHECK, STATUS = "certbot-pinkeep check", "certbot-pinkeep status"
RENEW = "certbot renew"


def pinned(server: Server) -> None:
    """A certificate that is pinned."""
    server.pinned()


def not_pinned_yet(server: Server) -> None:
    """A certificate without an installer."""
    server.certify("a.test", installer="null")
    server.reload()


def one_of_two_records_lost(server: Server) -> None:
    """The record of one keyring, and all that shows what was there, is lost."""
    server.pinned("a.test")
    server.pinned("b.test")
    for path in (server.keyring_file("b.test"), server.snippet("b.test"), *server.copies()):
        if path.name == "b.test.conf":
            path.unlink()
    server.reload()


def bad_option_in_cli_ini(server: Server) -> None:
    """Somebody mistyped a line."""
    server.pinned()
    server.cli_ini.append("pinkeep-max-age = sixty")


def good_option_in_cli_ini(server: Server) -> None:
    """The line is mended."""
    server.cli_ini[-1] = "pinkeep-max-age = 60"


def keyring_file_lost(server: Server) -> None:
    """Its copy below the work dir is there."""
    server.pinned()
    server.keyring_file().unlink()


def clock_was_set_back(server: Server) -> None:
    """It was ten days ahead once, and certbot ran."""
    server.pinned()
    server.wait(10)
    server.run("certbot renew --force-renewal")
    server.wait(-10)


def test_of_apache_failed(server: Server) -> None:
    """The pins were to change."""
    server.pinned()
    server.broken.touch()
    assert server.run("certbot renew --pinkeep-max-age 600").code == 1


def apache_mended(server: Server) -> None:
    """Its configuration is right again."""
    server.broken.unlink()


def reload_failed(server: Server) -> None:
    """Changed pins are in place, and Apache could not be reloaded."""
    server.pinned()
    server.stopped.touch()
    assert server.run("certbot renew --pinkeep-max-age 600").code == 1


def apache_runs(server: Server) -> None:
    """It can be reloaded again."""
    server.stopped.unlink()


def reload_by_hand(server: Server) -> None:
    """The admin reloads Apache after changes, and has not done so yet."""
    server.cli_ini.append('pinkeep-reload-command = ""')
    server.certify("a.test")


def moved_to_another_keyring(server: Server) -> None:
    """``b.test`` draws on the keyring of ``a.test`` from now on."""
    server.pinned("a.test")
    server.pinned("b.test")
    said = server.run("certbot renew --cert-name b.test -i pinkeep --pinkeep-keyring a.test")
    assert said.code == 0, said.text
    server.include["b.test"] = "a.test"


def reloaded(server: Server) -> None:
    """The admin reloads Apache."""
    server.reload()


def compromised(server: Server) -> None:
    """The present key is known to others, and a backup is safe."""
    server.pinned()
    assert server.run("certbot-pinkeep rollover a.test --compromised").code == 0


def offline_key(server: Server) -> str:
    """The file of a backup's private key that the admin keeps elsewhere."""
    path = server.root / "offline.key"
    if not path.exists():
        pem = make_pem()
        path.write_bytes(pem)
        path.with_suffix(".csr").write_bytes(csr_pem(pem, ["a.test"]))
    return str(path)


def offline_backup(server: Server) -> None:
    """The only backup is known by its CSR."""
    server.pinned(more="--pinkeep-backup-keys 1")
    csr = offline_key(server).replace(".key", ".csr")
    (own,) = server.backups()
    assert server.run(f"certbot-pinkeep backup a.test add --csr {csr}").code == 0
    if own in server.backups():
        assert server.run(f"certbot-pinkeep backup a.test drop {own}").code == 0
    server.wait(61)
    assert server.run(RENEW).code == 0
    server.sound()


def offline_backup_is_due(server: Server) -> None:
    """A rollover waits for its private key."""
    offline_backup(server)
    assert server.run("certbot-pinkeep rollover a.test --when-safe").code == 0


def snippet_lost(server: Server) -> None:
    """Somebody deleted it."""
    server.pinned()
    server.snippet().unlink()


def snippet_edited_reload_by_hand(server: Server) -> None:
    """Somebody edited it where the admin reloads Apache."""
    reload_by_hand(server)
    server.reload()
    assert server.run("certbot-pinkeep confirm a.test").code == 0
    server.sound()
    text = server.snippet().read_text()
    server.snippet().write_text(text.replace("max-age=", "max-age=1"))


def backup_lost(server: Server) -> None:
    """The file of a backup is gone."""
    server.pinned()
    server.key_file(server.backups()[0]).unlink()


def primary_lost(server: Server) -> None:
    """The file of the key in service is gone from ``keys/``."""
    server.pinned()
    server.key_file(server.live_pin()).unlink()


def sealed_backup_lost(server: Server) -> None:
    """The encrypted file of a backup is gone; the admin has another copy."""
    server.pinned()
    key, word = serialization.load_pem_private_key(make_pem(), None), server.root / "word"
    word.write_bytes(b"secret\n")
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (server.root / "sealed.pem").write_bytes(pem)
    said = server.run(f"certbot-pinkeep backup a.test add --keep-encrypted {sealed(server)}")
    assert said.code == 0, said.text
    server.sound()
    for path in (server.config / "keys").iterdir():
        if path.read_bytes() == pem:
            path.unlink()


def sealed(server: Server) -> str:
    """How it is given."""
    return f"--key {server.root}/sealed.pem --passphrase-file {server.root}/word"


def csr_lost(server: Server) -> None:
    """``csr/`` was emptied."""
    server.pinned()
    for path in (server.config / "csr").iterdir():
        path.unlink()


def last_certificate_deleted(server: Server) -> None:
    """Clients hold the pins."""
    server.pinned("a.test", "a.test", "www.a.test")
    server.delete_lineage()
    server.reload()


def key_of_another(server: Server) -> None:
    """Somebody copied another private key over the live one."""
    server.pinned()
    (server.live() / "privkey.pem").resolve().write_bytes(make_pem())


def overdue(server: Server) -> None:
    """The certificate should have been renewed, and certbot's timer is off."""
    server.age = 88
    server.pinned_anyhow()
    server.age = 0


def expired(server: Server) -> None:
    """The certificate has expired."""
    server.age = 100
    server.pinned_anyhow()
    server.age = 0


def replaced_without_pinkeep(server: Server) -> None:
    """A certificate for a new key is live; Apache has not loaded it."""
    server.pinned()
    server.replaced_by_hand()


def replaced_and_loaded(server: Server) -> None:
    """A certificate for a new key is live, and Apache serves it."""
    server.pinned()
    server.replaced_by_hand()
    server.reload()


def backup_is_live(server: Server) -> None:
    """Somebody put the next key in service by hand, which is safe."""
    server.pinned()
    server.put_live(server.key_file(server.backups()[0]).read_bytes())
    server.reload()


def other_installer(server: Server) -> None:
    """The renewal file names another installer."""
    server.pinned()
    text = server.renewal().read_text()
    server.renewal().write_text(text.replace("installer = pinkeep", "installer = None"))


def other_installer_and_new_key(server: Server) -> None:
    """The renewal file names another installer, and has lost ``reuse_key``."""
    other_installer(server)
    text = server.renewal().read_text()
    server.renewal().write_text(text.replace("reuse_key = True", "reuse_key = False"))


def no_reuse_key(server: Server) -> None:
    """A certbot without the plugin would make a new key."""
    server.pinned()
    text = server.renewal().read_text()
    server.renewal().write_text(text.replace("reuse_key = True\n", ""))


def subdomain_not_covered(server: Server) -> None:
    """A certificate below the pinned host is not on the keyring, which is to cover subdomains."""
    server.pinned("a.test")
    server.certify("b.a.test", installer="null")
    server.run("certbot renew --cert-name a.test --pinkeep-include-subdomains")


def certificate_below_came_later(server: Server) -> None:
    """includeSubDomains is published, and a certificate below was made without pinkeep."""
    server.pinned("a.test", more="--pinkeep-include-subdomains")
    server.certify("b.a.test", installer="null")
    server.reload()


ROWS = [
    Row("commands/check", not_pinned_yet, CHECK, "there is no keyring yet.", RENEW, sound),
    Row("commands/status", not_pinned_yet, STATUS, "No keyring yet.", RENEW, sound),
    Row("checks/machine", one_of_two_records_lost, CHECK, "the releases again that", RENEW, sound),
    Row(
        "checks/machine",
        bad_option_in_cli_ini,
        CHECK,
        " there, and run: certbot renew",
        RENEW,
        sound,
        by_hand=good_option_in_cli_ini,
    ),
    Row("checks/machine", keyring_file_lost, CHECK, "what was served is in doubt", RENEW, sound),
    Row(
        "checks/machine",
        clock_was_set_back,
        CHECK,
        "Set the clock right. Where it is right now, run: ",
        "certbot-pinkeep confirm",
        sound,
    ),
    Row(
        "checks/machine",
        test_of_apache_failed,
        CHECK,
        " -- mend what it finds, and run",
        RENEW,
        sound,
        by_hand=apache_mended,
    ),
    Row(
        "checks/machine",
        reload_failed,
        CHECK,
        "Apache is not known to have loaded what was published",
        RENEW,
        sound,
        by_hand=apache_runs,
    ),
    Row(
        "checks/seen",
        reload_by_hand,
        CHECK,
        "Reload Apache, and run: certbot-pinkeep confirm ",
        "certbot-pinkeep confirm",
        sound,
        by_hand=reloaded,
    ),
    Row(
        "checks/machine",
        moved_to_another_keyring,
        CHECK,
        "in the <VirtualHost>, reload Apache, and run: certbot-pinkeep confirm ",
        "certbot-pinkeep confirm",
        sound,
        by_hand=reloaded,
    ),
    Row(
        "status",
        moved_to_another_keyring,
        STATUS,
        "certbot-pinkeep confirm ",
        "certbot-pinkeep confirm",
        sound,
        by_hand=reloaded,
    ),
    Row(
        "checks/machine",
        compromised,
        CHECK,
        " To do it now, run: certbot-pinkeep rollover ",
        "certbot-pinkeep rollover",
        sound,
    ),
    Row(
        "checks/machine",
        offline_backup_is_due,
        CHECK,
        " add --key FILE",
        "certbot-pinkeep backup",
        gone,
        {"FILE": offline_key},
    ),
    Row("checks/machine", snippet_lost, CHECK, " -- it writes the snippet anew", RENEW, sound),
    Row(
        "checks/machine",
        snippet_edited_reload_by_hand,
        CHECK,
        "; then reload Apache, and run: certbot-pinkeep confirm ",
        RENEW,
        done,
    ),
    Row("checks/machine", backup_lost, CHECK, " -- it stages another backup.", RENEW, sound),
    Row("checks/machine", primary_lost, CHECK, "-- it takes the key from where", RENEW, sound),
    Row(
        "checks/machine",
        sealed_backup_lost,
        CHECK,
        " add --keep-encrypted --key FILE",
        "certbot-pinkeep backup",
        sound,
        {"--key FILE": sealed},
    ),
    Row("checks/machine", csr_lost, CHECK, "certbot renew -- it saves another one", RENEW, sound),
    Row(
        "checks/machine",
        last_certificate_deleted,
        CHECK,
        "certbot certonly --installer pinkeep --pinkeep-keyring ",
        "certbot certonly",
        sound,
    ),
    Row(
        "checks/machine",
        last_certificate_deleted,
        CHECK,
        "or, to leave pinning: certbot-pinkeep unpin ",
        "certbot-pinkeep unpin",
        gone,
    ),
    Row(
        "checks/machine",
        key_of_another,
        CHECK,
        " --force-renewal --installer pinkeep",
        RENEW,
        sound,
    ),
    Row("checks/machine", overdue, CHECK, "and run: certbot renew --cert-name ", RENEW, sound),
    Row("checks/machine", expired, CHECK, "and run: certbot renew --cert-name ", RENEW, sound),
    Row(
        "checks/machine",
        replaced_without_pinkeep,
        CHECK,
        "Do not reload Apache, and run: certbot renew --cert-name ",
        RENEW,
        sound,
    ),
    Row("checks/hosts", replaced_and_loaded, CHECK, " --force-renewal --installer", RENEW, sound),
    Row("checks/machine", backup_is_live, CHECK, "certbot renew", RENEW, sound),
    Row("checks/machine", other_installer, CHECK, "Run: certbot renew --cert-name ", RENEW, sound),
    Row(
        "checks/machine",
        other_installer_and_new_key,
        CHECK,
        "Run: certbot renew --cert-name ",
        RENEW,
        sound,
    ),
    Row("checks/machine", no_reuse_key, CHECK, "Run: certbot renew --cert-name ", RENEW, sound),
    Row(
        "checks/machine",
        certificate_below_came_later,
        CHECK,
        " --force-renewal --installer pinkeep --pinkeep-keyring ",
        RENEW,
        sound,
    ),
    Row(
        "checks/machine", subdomain_not_covered, CHECK, " --force-renewal --installer", RENEW, sound
    ),
]
