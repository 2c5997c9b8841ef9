"""The states of a server that the tables of messages and of odd trees are about."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from certbot_pinkeep.core import earlier_headers
from certbot_pinkeep.workflow import requests
from simulated.server import Server, be_strange
from simulated.values import (
    csr_of,
    csr_pem,
    encrypted,
    fake_pin,
    make_pem,
    pem_of,
    pin_of_key,
    resigned,
)
from simulated.workflow import Workflow

RENEW = "certbot renew"
PIN = fake_pin("a key that nobody has")


def nothing(server: Server) -> None:
    """A server without a certificate."""


def pinned(server: Server) -> None:
    """A certificate that is pinned."""
    server.pinned()


def expanded_past_pinkeep(server: Server) -> None:
    """A pinned certificate has a new key, and a host more, which another keyring pins."""
    server.pinned("a.test")
    server.pinned("b.test")
    server.put_live(make_pem(), "b.test", ("a.test",))


def expanded_and_back(server: Server) -> None:
    """It has a pinned key again."""
    expanded_past_pinkeep(server)
    server.run("certbot renew --cert-name b.test --force-renewal -i pinkeep")


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
    """The file of a backup's private key that the admin keeps offline."""
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
    """Somebody edited it, and the admin reloads Apache."""
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
    (server.root / "word").write_bytes(b"secret\n")
    pem = encrypted(make_pem())
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


def renewed_by_hand(server: Server) -> None:
    """The renewal file says that certbot does not renew it of itself."""
    server.pinned()
    text = server.renewal().read_text()
    server.renewal().write_text(
        text.replace("[renewalparams]", "[renewalparams]\nautorenew = False")
    )


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
    assert server.run_without_plugin("certbot certonly -d b.a.test").code == 0
    server.reload()


def neighbour_came(server: Server) -> None:
    """A certificate for the pinned host was made by a certbot without the plugin."""
    server.pinned()
    assert server.run_without_plugin("certbot certonly --cert-name other -d a.test").code == 0
    server.reload()


# What certbot's runs and the commands of certbot-pinkeep come upon


def keyring_file_edited(server: Server) -> None:
    """Somebody edited the record, which is damaged by that."""
    server.pinned()
    text = server.keyring_file().read_text()
    server.keyring_file().write_text(text.replace("unpin = False", "unpin = True"))


def keyring_file_moved_away(server: Server) -> None:
    """The admin moves the damaged file away."""
    server.keyring_file().rename(server.root / "damaged.conf")


def never_served(server: Server) -> None:
    """A run was killed before it published the keyring."""
    server.certify("a.test", installer="null")
    server.killed_before_publishing("a.test")


def one_backup(server: Server) -> None:
    """Pinned with one backup."""
    server.pinned(more="--pinkeep-backup-keys 1")


def unsafe(server: Server) -> None:
    """The only backup was staged just now, in a rollover."""
    one_backup(server)
    assert server.run("certbot-pinkeep rollover a.test --now").code == 0


def compromised_and_unsafe(server: Server) -> None:
    """The key is known to others, and the only backup was staged just now."""
    unsafe(server)
    assert server.run("certbot-pinkeep rollover a.test --compromised --when-safe").code == 0


def backups_lost(server: Server) -> None:
    """The files of all backups are gone."""
    server.pinned()
    for pin in server.backups():
        server.key_file(pin).unlink()


def compromised_without_backup(server: Server) -> None:
    """The files of all backups are gone, and the key is known to others."""
    backups_lost(server)
    server.run("certbot-pinkeep rollover a.test --compromised --when-safe")


def released(server: Server) -> None:
    """An app carries the pins."""
    server.pinned()
    words = "--channel ios --label '3.2 beta' --until"
    assert server.run(f"certbot-pinkeep release a.test add {words} {next_year(server)}").code == 0


def unpinned(server: Server) -> None:
    """The keyring leaves pinning."""
    server.pinned()
    assert server.run("certbot-pinkeep unpin a.test").code == 0


def unpinned_for_good(server: Server) -> None:
    """The keyring has left pinning, and nobody holds its pins."""
    unpinned(server)
    server.wait(61)
    assert server.run(RENEW).code == 0


def moved_with_one_left_behind(server: Server) -> None:
    """One of two certificates of a host has moved to another keyring."""
    server.pinned("a.test")
    server.pinned("b.test")
    server.pinned("c.test", "b.test", more="--pinkeep-keyring b.test")
    said = server.run("certbot renew --cert-name b.test -i pinkeep --pinkeep-keyring a.test")
    assert said.code == 0, said.text


def certbot_of_tomorrow(server: Server) -> None:
    """Certbot is one that cannot be guarded."""
    server.pinned()
    server.changed = be_strange


def refused_by_the_ca(server: Server) -> None:
    """The CA does not take the key of the next backup, which is to be used."""
    server.pinned()
    server.refused[server.backups()[0]] = "such keys are not supported"
    assert server.run("certbot-pinkeep rollover a.test").code == 0


def key_refused_and_record_lost(server: Server) -> None:
    """The CA calls the live key compromised, and all that is left of the record is the snippet."""
    server.pinned()
    server.forget("a.test")
    server.refused[server.live_pin()] = "public key is blocked"


def record_lost(server: Server) -> None:
    """All that is left of the record is the snippet."""
    server.pinned()
    server.forget("a.test")


def record_and_offline_backup_lost(server: Server) -> None:
    """The same, if a backup was known by its CSR."""
    offline_backup(server)
    server.forget("a.test")


def record_lost_and_replaced(server: Server) -> None:
    """The same, and a certificate for a new key is live."""
    record_lost(server)
    server.replaced_by_hand()


def snippet_replaced(server: Server) -> None:
    """Somebody put a file of their own in the place of the snippet."""
    server.pinned()
    server.snippet().write_text("Header always set X-Mine yes\n")


def snippet_moved_away(server: Server) -> None:
    """The admin moves the snippet away."""
    server.snippet().rename(server.root / "snippet.conf")


def keys_open_to_others(server: Server) -> None:
    """Everybody may look into the folder of the private keys."""
    server.pinned()
    (server.config / "keys").chmod(0o755)


def host_could_not_be_seen(server: Server) -> None:
    """The site was down when it was pinned, so nobody knows what it sent before."""
    server.pinned()
    workflow = Workflow(str(server.config), str(server.work))
    state, keys = server.state(), [server.live_pin()]
    ledger = earlier_headers.with_unseen(
        state.ledger, keys, ("a.test",), server.now, timedelta(days=60)
    )
    workflow.store.save(replace(state, ledger=ledger))


def records_open_to_others(server: Server) -> None:
    """Everybody may write to the folder of the keyring files."""
    server.pinned()
    server.keyring_file().parent.chmod(0o777)


def snippet_open_to_others(server: Server) -> None:
    """Everybody may write the snippet."""
    server.pinned()
    server.snippet().chmod(0o666)


def keys_of_a_stranger(server: Server) -> None:
    """The folder of the private keys belongs to another user."""
    server.pinned()
    os.chown(server.config / "keys", 12345, -1)


def hook_only(server: Server) -> None:
    """The hook is meant to pin it, but its renewals make new keys."""
    server.certify("a.test", installer="null", more='--deploy-hook "certbot-pinkeep deploy-hook"')
    server.reload()
    server.environ["RENEWED_LINEAGE"] = str(server.live())


def odd_name(server: Server) -> None:
    """A certificate whose name cannot name a keyring."""
    server.certify("'my site'", "a.test", installer="null")
    server.reload()


def bad_option_on_the_command_line(server: Server) -> None:
    """Pinned; the next command line has a bad value."""
    server.pinned()


def bad_option_remembered(server: Server) -> None:
    """A renewal file has a bad value."""
    server.pinned()
    with server.renewal().open("a") as file:
        file.write("pinkeep_max_age = sixty\n")


def bad_switch_remembered(server: Server) -> None:
    """A renewal file has a bad value for an option that is given without one."""
    server.pinned()
    with server.renewal().open("a") as file:
        file.write("pinkeep_report_only = perhaps\n")


def encrypted_wrongly(server: Server) -> str:
    """A private key that is not encrypted as it should be."""
    path = server.home / "plain.pem"
    path.write_bytes(make_pem())
    return str(path)


def certificate_file(server: Server) -> str:
    """A certificate in place of a CSR."""
    return str(server.live() / "cert.pem")


def two(server: Server) -> None:
    """Two certificates with a keyring each."""
    server.pinned("a.test")
    server.pinned("b.test")


def two_below_a_wildcard(server: Server) -> None:
    """Two certificates with a keyring each, for hosts that one wildcard stands for."""
    server.pinned("a.w.test")
    server.pinned("b.w.test")


def compromised_wildcard_above_two(server: Server) -> None:
    """Others know the key of a wildcard's certificate above the hosts of two keyrings. It is not enrolled."""
    two_below_a_wildcard(server)
    said = server.run_without_plugin("certbot certonly --cert-name wild -d *.w.test")
    assert said.code == 0, said.text
    _compromise(server, "wild")


def renewal_file_renamed(server: Server) -> None:
    """The renewal file alone has another name; a rollover finds the certificate all the same."""
    server.pinned()
    server.renewal().rename(server.renewal("site"))
    said = server.run("certbot-pinkeep rollover a.test --now")
    assert said.code == 0, said.text


def compromised_neighbour(server: Server) -> None:
    """Another certificate for a pinned host, which is not enrolled, has a key that is known to others."""
    server.pinned()
    said = server.run_without_plugin("certbot certonly --cert-name b -d a.test")
    assert said.code == 0, said.text
    _compromise(server, "b")


def _compromise(server: Server, name: str) -> None:
    """A key that is pinned as a neighbour's is known to others."""
    assert server.run(RENEW).code == 0
    workflow = Workflow(str(server.config), str(server.work))
    requests.note_revoked(workflow, server.live_pin(name), server.now, compromised=True)


def included(server: Server) -> None:
    """The site of ``b.test`` includes the snippet of ``a.test``, and Apache is reloaded."""
    server.include["b.test"] = "a.test"
    server.reload()


def moved_but_not_included(server: Server) -> None:
    """``b.test`` draws on the keyring of ``a.test``, but its site sends the pins of its old one."""
    moved_to_another_keyring(server)
    del server.include["b.test"]


def by_hand(server: Server) -> None:
    """The admin reloads Apache after changes."""
    server.cli_ini.append('pinkeep-reload-command = ""')


def apache_broken(server: Server) -> None:
    """Pinned; then somebody broke Apache's configuration."""
    server.pinned()
    server.broken.touch()


def apache_stopped(server: Server) -> None:
    """Pinned; then Apache cannot be reloaded."""
    server.pinned()
    server.stopped.touch()


def one_below(server: Server) -> None:
    """Below the pinned host there is a certificate that is not on the keyring."""
    server.pinned("a.test")
    server.certify("b.a.test", installer="null")
    server.reload()


def offline_csr(server: Server) -> str:
    """The CSR of the backup whose private key is kept offline."""
    return offline_key(server).replace(".key", ".csr")


def compromised_one_backup(server: Server) -> None:
    """The key is known to others, and there is one backup, which is safe."""
    one_backup(server)
    assert server.run("certbot-pinkeep rollover a.test --compromised").code == 0


def ca_is_down(server: Server) -> None:
    """Pinned; then the CA answers with errors."""
    server.pinned()
    server.refused[""] = "the database is down"


def ca_is_back(server: Server) -> None:
    """It issues again."""
    server.refused.clear()


def served_key_that_an_app_refuses(server: Server) -> None:
    """An app carries pins without the key that is in service, after a rollover that was forced."""
    unsafe(server)
    before = server.live_pin()
    words = f"--channel ios --label 3 --until {next_year(server)} --pin {before}"
    assert server.run(f"certbot-pinkeep release a.test add {words}").code == 0
    assert server.run("certbot-pinkeep rollover a.test --now --force").code == 0
    server.wait(61)
    server.run(RENEW)


A_RELEASE = {"PIN": "{live_pin} --channel ios --label 1 --until {next_year}"}


def next_year(server: Server) -> str:
    """The last day of a release."""
    return f"{server.now + timedelta(days=400):%Y-%m-%d}"


def foreign_certificate(server: Server) -> str:
    """A certificate that certbot does not manage."""
    path = server.home / "foreign.pem"
    path.write_bytes((server.live() / "cert.pem").read_bytes())
    return str(path)


def new_backup_pending(server: Server) -> None:
    """The only backup was rolled over to, and the admin has not reloaded Apache yet."""
    one_backup(server)
    by_hand(server)
    assert server.run(RENEW).code == 0
    said = server.run(f"certbot-pinkeep backup a.test drop {server.backups()[0]}")
    assert said.code == 0, said.text


def hook_for_damaged(server: Server) -> None:
    """The renewal file of a certificate is damaged."""
    server.pinned()
    server.renewal().write_text("[renewalparams\n")
    server.environ["RENEWED_LINEAGE"] = str(server.live())


def der_csr(server: Server) -> str:
    """A CSR in DER."""
    request = csr_of(make_pem(), ["a.test"])
    path = server.home / "request.der"
    path.write_bytes(request.public_bytes(serialization.Encoding.DER))
    return str(path)


def sha1_csr(server: Server) -> str:
    """A CSR that is signed with SHA-1."""
    pem = make_pem()
    path = server.home / "old.csr"
    path.write_bytes(resigned(csr_of(pem, ["a.test"]).tbs_certrequest_bytes, pem, hashes.SHA1()))
    return str(path)


def forced(server: Server) -> None:
    """A rollover is forced, and no renewal has come yet."""
    unsafe(server)
    assert server.run("certbot-pinkeep rollover a.test --force").code == 0


def copies_open_to_others(server: Server) -> None:
    """Everybody may write to the folder of the copies."""
    server.pinned()
    (server.work / "pinkeep").chmod(0o777)


def copies_of_a_stranger(server: Server) -> None:
    """The folder of the copies belongs to another user."""
    server.pinned()
    os.chown(server.work / "pinkeep", 12345, -1)


def key_of_another_before_it_is_pinned(server: Server) -> None:
    """Somebody copied another private key over the live one; pinkeep comes later."""
    not_pinned_yet(server)
    (server.live() / "privkey.pem").resolve().write_bytes(make_pem())


def snippets_of_a_stranger(server: Server) -> None:
    """The snippet and its folder belong to another user; nothing else has changed."""
    server.pinned()
    for path in (server.snippet().parent, server.snippet()):
        os.chown(path, 12345, -1)


def records_of_a_stranger(server: Server) -> None:
    """All of CONFIG_DIR/pinkeep belongs to another user."""
    snippets_of_a_stranger(server)
    for path in (server.config / "pinkeep").iterdir():
        os.chown(path, 12345, -1)
    os.chown(server.config / "pinkeep", 12345, -1)


# A zone that pins the keys of ports, too

ZONED = "--pinkeep-tlsa 25"


def zoned(server: Server) -> None:
    """Pinned in a zone as well, whose provider takes what pinkeep writes."""
    server.pinned(more=f"{ZONED} --pinkeep-dns-credentials {server.credentials}")


def settled(server: Server) -> None:
    """The same, for long enough that nobody holds earlier records."""
    zoned(server)
    server.wait(1)
    assert server.run(RENEW).code == 0


def records_deleted(server: Server) -> None:
    """Somebody deleted the records by hand."""
    settled(server)
    server.zone.clear()


def records_deleted_and_refused(server: Server) -> None:
    """The same, and the provider takes no changes."""
    records_deleted(server)
    server.wait(2)
    server.zone.refusal = "The name server refuses."


def zone_takes_changes(server: Server) -> None:
    """The provider takes changes again."""
    server.zone.refusal = ""


def name_server_silent(server: Server) -> None:
    """One of two name servers does not answer."""
    settled(server)
    server.wait(2)
    server.zone.silent.add("ns2")
    server.run(RENEW)


def name_server_answers(server: Server) -> None:
    """It answers again."""
    server.zone.silent.clear()


def name_server_gone(server: Server) -> None:
    """A port is left whose name server is gone for good."""
    name_server_silent(server)
    server.run("certbot-pinkeep pin a.test --tlsa none")


def port_lags(server: Server) -> None:
    """The key rolled over, and the mail server has not loaded the new one."""
    settled(server)
    server.stale = server.live_pin()
    assert server.run("certbot-pinkeep rollover a.test --when-safe").code == 0
    server.run("certbot renew --force-renewal")
    assert server.live_pin() != server.stale


def port_loaded(server: Server) -> None:
    """The mail server has loaded it."""
    server.stale = None


def credentials_open(server: Server) -> None:
    """Everybody may read the credentials."""
    zoned(server)
    server.credentials.chmod(0o644)


def zone_by_hand(server: Server) -> None:
    """The admin enters the records, and has not done so yet."""
    server.pinned()
    server.run(f"certbot renew {ZONED}")


# Apache as a system has it, and what its sites send


def unprepared(server: Server) -> None:
    """Apache does not include the snippets, because nobody ran ``setup``."""
    server.install_apache()
    server.certify("a.test")


def unprepared_with_own_commands(server: Server) -> None:
    """The same, and how Apache is reloaded is the admin's own: what it includes is not known."""
    own = list(server.cli_ini)
    server.install_apache()
    server.cli_ini = own
    server.certify("a.test")


def without_mod_headers(server: Server) -> None:
    """The snippets are included, and Apache cannot send headers."""
    server.install_apache()
    assert server.run("certbot-pinkeep setup").code == 0
    server.pinned()
    (server.debian / "mods-enabled" / "headers.load").unlink()


def sends_others_pins(server: Server) -> None:
    """The site of ``b.test`` includes the snippet of ``a.test``, and Apache the others."""
    server.install_apache()
    assert server.run("certbot-pinkeep setup").code == 0
    two(server)
    server.include["b.test"] = "a.test"


def snippet_of_version_0_1(server: Server) -> None:
    """A snippet sends its header at every host; the server has no ``setup`` yet."""
    server.certify("a.test")
    server.install_apache()
    text = server.snippet().read_text()
    server.snippet().write_text(re.sub('"expr=.*"', "env=HTTPS", text))


def nginx_beside(server: Server) -> None:
    """Apache is stopped, and nginx runs on this machine, too."""
    server.install_apache()
    assert server.run("certbot-pinkeep setup").code == 0
    server.certify("a.test", installer="null")
    server.install_nginx()
    server.stopped.touch()


def another_line(server: Server) -> None:
    """The admin's own line goes on sending the header of before."""
    not_pinned_yet(server)
    key = server.live_pin()
    server.sites = [("Public-Key-Pins", f'pin-sha256="{key}"; pin-sha256="{PIN}"; max-age=600')]
    server.run("certbot-pinkeep pin a.test")


def line_removed(server: Server) -> None:
    """The admin takes it out."""
    server.sites = []
    server.reload()


def pins_of_before(server: Server) -> None:
    """A site sends pins that pinkeep did not write, one of a key that is kept offline."""
    not_pinned_yet(server)
    backup = pin_of_key(Path(offline_key(server)).read_bytes())
    value = f'pin-sha256="{server.live_pin()}"; pin-sha256="{backup}"; max-age=600'
    server.sites = [("Public-Key-Pins", value)]


def site_is_down(server: Server) -> None:
    """Nobody can look at the site."""
    not_pinned_yet(server)
    server.unseen.add("a.test")


def for_apps_alone(server: Server) -> None:
    """A keyring without a header."""
    server.pinned(more="--pinkeep-header none")


def own_command_lost(server: Server) -> None:
    """The keyring file is lost, which had a command of the admin's own."""
    server.cli_ini = [one for one in server.cli_ini if "reload-command" not in one]
    server.pinned(more=f"--pinkeep-reload-command {server.root}/reload")
    server.keyring_file().unlink()


def keys_lost(server: Server) -> None:
    """All private keys are gone or damaged, and the admin has a backup of them."""
    server.pinned()
    _lose_keys(server)


def keys_and_record_lost(server: Server) -> None:
    """The same, and all that is left of the record is the snippet."""
    record_lost(server)
    _lose_keys(server)


def _lose_keys(server: Server) -> None:
    shutil.copytree(server.config, server.root / "backup", symlinks=True)
    for path in (server.config / "keys").iterdir():
        path.unlink()
    (server.live() / "privkey.pem").write_bytes(b"damaged")


def keys_restored(server: Server) -> None:
    """The admin restores them."""
    for folder in ("keys", "archive"):
        shutil.copytree(server.root / "backup" / folder, server.config / folder, dirs_exist_ok=True)


def odd_neighbour(server: Server) -> None:
    """Another certificate for the host has a key of a kind that cannot be pinned; nothing is pinned yet."""
    server.certify("b.test", "a.test", installer="null")
    server.put_live(pem_of(ed25519.Ed25519PrivateKey.generate()), "b.test")
    not_pinned_yet(server)


def issued_without_pinkeep(server: Server) -> None:
    """The admin gets the certificate without pinkeep."""
    server.certify("a.test", installer="null")


def overlapping(server: Server) -> None:
    """Two keyrings pin a name each of a certificate that is to be enrolled."""
    two(server)
    said = server.run_without_plugin("certbot certonly --cert-name c.test -d a.test -d b.test")
    assert said.code == 0, said.text


def overlapping_and_deleted(server: Server) -> None:
    """The same, and the certificate of one of the keyrings is deleted."""
    overlapping(server)
    server.delete_lineage("b.test")


def another_certificate_in_its_place(server: Server) -> None:
    """A certbot without the plugin took a host off the certificate, and made another one for it."""
    server.pinned("a.test", "a.test", "b.test")
    for words in ("a.test --reuse-key -d b.test", "other -d a.test"):
        said = server.run_without_plugin(f"certbot certonly -i null --cert-name {words}")
        assert said.code == 0, said.text
    server.reload()


def served_by_nginx_from_now_on(server: Server) -> None:
    """Apache sent the pins, and pinkeep knows no command that reloads Apache; nginx is to send them."""
    server.pinned()
    server.install_nginx()
