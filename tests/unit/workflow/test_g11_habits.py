"""Whatever verb, installer and options: a pinned lineage gets pinned keys only (G11)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from certbot import errors
from certbot._internal.plugins import null

from certbot_pinkeep.adapters import lineage, renewal_conf
from certbot_pinkeep.adapters.renewal_conf import Renewal
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.workflow import enrolled, guard
from simulated.server import Server, be_strange, replace, take_plugin_away
from simulated.values import csr_pem, make_pem, tree

A = "--cert-name a.test"


@dataclass(frozen=True)
class Habit:
    """What an admin types, and what comes of it.

    :ivar installer: in the renewal file afterwards
    :ivar key: which key is live: ``same``, or ``backup``, the first one in the header before
    :ivar names: how many hosts the certificate is for
    """

    line: str
    installer: str | None
    key: str = "same"
    said: str = ""
    names: int = 1
    code: int = 0
    lineage: str = "a.test"


#: In this order, at one site; each leaves what the next one finds.
HABITS = (
    Habit(f"certonly {A} -i null -d a.test -d www.a.test --expand", "null", names=2),
    Habit("certonly -i null -d a.test,www.a.test,x.a.test --expand", "null", names=3),
    Habit(f"certonly {A} -d a.test --force-renewal", None),
    Habit(f"run {A} -i null -d a.test --force-renewal", "null"),
    Habit("renew --force-renewal", "null"),
    Habit("renew --force-renewal -i pinkeep", "pinkeep"),
    Habit(f"renew {A} --force-renewal --no-reuse-key -i null", "null", said="--no-reuse-key"),
    Habit(f"certonly {A} -d a.test --force-renewal --key-type rsa", None, said="--key-type rsa"),
    Habit(f"certonly {A} -d a.test --force-renewal --elliptic-curve secp384r1", None),
    Habit(f"certonly {A} -d a.test --force-renewal --allow-subset-of-names", None),
    Habit(f"certonly {A} -d a.test --force-renewal --staging --break-my-certs", None),
    Habit(
        f"certonly {A} -d a.test --force-renewal --server https://ca.test/ --preferred-chain X",
        None,
    ),
    Habit("renew -q --force-renewal --deploy-hook true", None),
    Habit("certonly -d a.test --duplicate", None, lineage="a.test-0001", said="joined the keyring"),
    Habit("renew --force-renewal --dry-run --new-key", None),
    Habit(f"certonly {A} -d a.test --force-renewal --new-key", None, "backup", "--new-key"),
    Habit("renew --cert-name a.test-0001 --force-renewal", None, "same", lineage="a.test-0001"),
    Habit(f"certonly {A} -d a.test --force-renewal --new-key", None, "backup", "--new-key"),
    Habit(
        f"certonly {A} -d a.test --force-renewal --new-key",
        None,
        said="certbot-pinkeep rollover a.test --when-safe",
        code=1,
    ),
    Habit("renew --force-renewal --new-key", None, said="--new-key does not count for a.test"),
)


class Visitor:
    """A client that noted every header that it was ever sent, and accepts what they all pin."""

    def __init__(self) -> None:
        self.noted: list[Policy] = []

    def visit(self, server: Server) -> None:
        """Go to the site: what it serves has to be pinned by all that was noted."""
        for live in sorted(server.loaded.glob("live/a.test*")):
            pin = server.served_pin(live.name)
            assert all(pin in policy.pins for policy in self.noted), f"{live.name} locks out"
        sent = server.sent("a.test")
        assert sent is not None
        self.noted.append(sent)


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """A machine with a pinned site."""
    found = Server(tmp_path)
    found.certify("a.test")
    return found


def renewal(server: Server, name: str = "a.test") -> Renewal:
    """The renewal file of a lineage."""
    found = renewal_conf.load(str(server.config), name)
    assert found is not None
    return found


def test_no_habit_gives_a_pinned_site_a_key_that_its_visitors_refuse(server: Server) -> None:
    """The table above, with a visitor who noted every header; all that is issued is loaded."""
    visitor = Visitor()
    visitor.visit(server)
    for habit in HABITS:
        live = server.live_pin()
        wanted = server.backups()[0] if habit.key == "backup" else live
        said = server.run(f"certbot {habit.line}")
        assert (said.code, habit.said in said.text) == (habit.code, True), (habit, said.text)
        names, pin, _ = lineage.glance(str(server.live(habit.lineage) / "cert.pem"))
        assert (len(names), pin) == (habit.names, wanted), (habit, said.text)
        found = renewal(server, habit.lineage)
        assert (found.installer, found.reuse_key) == (habit.installer, True), habit
        assert server.loaded_serial(habit.lineage) == server.serial(habit.lineage), habit
        visitor.visit(server)
    server.sound()


@pytest.mark.parametrize("installer", ["", "-i null"])
def test_new_lineage_for_a_pinned_host_draws_on_its_keyring(server: Server, installer: str) -> None:
    """Deleted and made anew, under another name, or below a wildcard: what visitors noted is served."""
    server.certify("w.test", "*.w.test")
    pinned = server.live_pin(), server.live_pin("w.test")
    server.delete_lineage()
    for line, name, pin in (
        ("-d a.test", "a.test", pinned[0]),
        ("--cert-name shop -d a.test -d shop.test", "shop", pinned[0]),
        ("-d www.w.test", "www.w.test", pinned[1]),
    ):
        said = server.run(f"certbot certonly {installer} {line}")
        assert said.code == 0, said.text
        assert server.served_pin(name) == server.live_pin(name) == pin, said.text
        assert renewal(server, name).reuse_key


def test_renewal_of_a_neighbour_draws_on_the_keyring(server: Server) -> None:
    """A certificate for the pinned host that came without the plugin is renewed for a pinned key."""
    assert server.run_without_plugin("certbot certonly --cert-name other -d a.test").code == 0
    said = server.run("certbot renew")
    assert "other is a certificate for a host of the keyring a.test" in said.text
    sent = server.sent("a.test")
    assert sent is not None
    said = server.run("certbot renew --cert-name other --force-renewal --new-key")
    assert said.code == 0 and server.served_pin("other") in sent.pins, said.text


def test_new_key_is_not_said_to_be_a_rollover_that_did_not_happen(server: Server) -> None:
    """A certificate below two keyrings keeps the key that both pin."""
    for host in ("a.w.test", "b.w.test"):
        assert server.run_without_plugin(f"certbot certonly -d {host}").code == 0
    assert server.run_without_plugin("certbot certonly --cert-name wild -d *.w.test").code == 0
    for host in ("a.w.test", "b.w.test"):
        server.run(f"certbot renew --cert-name {host} -i pinkeep")
    before = server.live_pin("wild")
    said = server.run("certbot certonly --cert-name wild -d *.w.test --force-renewal --new-key")
    assert server.live_pin("wild") == before
    assert "--new-key does not count" in said.text and "rolled over" not in said.text


@pytest.mark.parametrize("line", ["renew --cert-name a.test --force-renewal", "certonly -d b.test"])
def test_fault_after_certbots_own_work_is_a_sentence(server: Server, line: str) -> None:
    """The certificate is there; a package that is removed meanwhile, say, ends no certbot with a fault."""

    def fail(*_: object) -> None:
        raise ImportError("No module named 'certbot_pinkeep.workflow'")

    def fail_late() -> None:
        replace(guard, "update", fail)
        replace(guard, "end", fail)

    before = server.serial()
    server.changed = fail_late
    said = server.run(f"certbot {line} -i null")
    assert (
        said.code == 1 and "cannot tell whether the pinned certificates are up to date" in said.text
    )
    assert "unexpected" not in said.text
    assert server.live("b.test").exists() or server.serial() != before


def test_copy_of_a_renewal_file_renews_the_pinned_certificate_as_its_own_does(
    server: Server,
) -> None:
    """Admins keep a copy beside it, which may be of a time before pinkeep. Certbot renews by both."""
    text = server.renewal().read_text()
    before = text.replace("reuse_key = True\n", "").replace(
        "installer = pinkeep", "installer = null"
    )
    server.renewal("a-copy").write_text(before)
    server.renewal("old").write_text(before)
    live = server.live_pin()
    said = server.run("certbot renew --force-renewal")
    assert said.code == 0 and server.live_pin() == live, said.text
    assert server.loaded_serial() == server.serial()
    server.sound()


def test_change_of_a_renewal_file_with_another_name_is_seen(server: Server) -> None:
    """An admin renamed it: it is looked at as any other, though the certificate is not due."""
    path = server.renewal("other")
    server.renewal().rename(path)
    for _ in range(2):
        assert server.run("certbot renew").code == 0
    path.write_text(path.read_text().replace("reuse_key = True\n", ""))
    assert server.run("certbot renew").code == 0
    assert "reuse_key = True" in path.read_text()


def by_hand(server: Server) -> None:
    """A certificate for the pinned host that certbot does not renew."""
    shutil.copytree(server.live(), server.live("manual"))


def renamed(server: Server) -> None:
    """The lineage has another name, but for the links in ``live/``."""
    for folder in ("live", "archive"):
        (server.config / folder / "a.test").rename(server.config / folder / "shop")
    text = server.renewal().read_text().replace("/a.test", "/shop")
    server.renewal().rename(server.renewal("shop"))
    server.renewal("shop").write_text(text.replace("installer = pinkeep", "installer = null"))


def deleted_and_asked_for(server: Server) -> None:
    """Deleted, and asked for with a type of key that no client knows: the keyring is published anew."""
    server.run(f"certbot delete {A}")
    assert server.run("certbot certonly -d a.test --key-type rsa").code == 1


def deleted_while_leaving(server: Server) -> None:
    """The keyring leaves pinning already."""
    server.run("certbot-pinkeep unpin a.test")
    assert "unpin" not in server.run(f"certbot delete {A}").text


@pytest.mark.parametrize(
    ("habit", "commands"),
    [
        (by_hand, []),
        (renamed, ["mkdir -p ", "certbot-pinkeep pin shop"]),
        (deleted_and_asked_for, ["certbot certonly --installer pinkeep --pinkeep-keyring a.test "]),
        (deleted_while_leaving, []),
    ],
)
def test_commands_that_a_habit_calls_for_help(
    server: Server, habit: Callable[[Server], None], commands: list[str]
) -> None:
    """The first that check names, one after another, until nothing is wrong."""
    habit(server)
    assert "Run:" not in server.run("certbot renew").text
    for command in commands:
        said = server.run("certbot-pinkeep check").text
        found = (
            said.partition("\n")[2].partition("Run: ")[2].partition("\n")[0].partition(" -- ")[0]
        )
        assert found.startswith(command), said
        if command.startswith("certbot"):
            assert server.run(found).code == 0
        else:
            subprocess.run(["sh", "-ec", found], check=True)
    server.sound()


@pytest.mark.parametrize("installer", ["pinkeep", "null"])
def test_dry_run_writes_nothing(server: Server, installer: str) -> None:
    """Not even into the caches, which the next run would fill."""
    (server.work / "pinkeep" / "keyrings").unlink(missing_ok=True)
    before = tree(server.config), tree(server.work)
    assert server.run(f"certbot renew --dry-run -i {installer}").code == 0
    assert (tree(server.config), tree(server.work)) == before


def test_own_csr_that_visitors_refuse_is_told(server: Server) -> None:
    """Certbot makes no lineage of it, so it is not refused; a CSR for another host is not told of."""
    for host in ("a.test", "b.test"):
        (server.home / f"{host}.csr").write_bytes(csr_pem(make_pem(), [host]))
        said = server.run(f"certbot certonly --csr {host}.csr")
        assert said.code == 0
        assert ("refuse the key of this CSR at a.test" in said.text) == (host == "a.test"), (
            said.text
        )


def test_other_lineages_are_certbots(server: Server) -> None:
    """They get new keys as ever, and nothing is noted in their renewal files (G9)."""
    for line in ("certonly -d b.test", "renew --cert-name b.test --force-renewal"):
        before = server.live_pin("b.test") if server.live("b.test").exists() else None
        said = server.run(f"certbot {line}")
        assert said.code == 0 and "pinned" not in said.text, said.text
        assert server.live_pin("b.test") != before
        assert not renewal(server, "b.test").reuse_key
    assert "b.test" not in str(server.state())


@pytest.mark.parametrize(
    "line", ["renew --force-renewal --new-key", "certonly -d {} --force-renewal"]
)
def test_g9_lineage_of_which_nothing_can_be_told_is_noted_nothing(
    server: Server, line: str
) -> None:
    """Its key is kept in this run, pinned or not (G8); its renewal file says what it said before."""
    server.run("certbot certonly -d b.test --key-type rsa")

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    def know_nothing() -> None:
        replace(guard, "of", fail)
        replace(guard, "end", lambda _: None)

    server.changed = know_nothing
    for name, reuse in (("a.test", True), ("b.test", False)):
        before, serial = server.live_pin(name), server.serial(name)
        assert renewal(server, name).reuse_key is reuse
        said = server.run(f"certbot {line.format(name)} --cert-name {name} -i null")
        assert f"cannot tell whether {name} is pinned" in said.text, said.text
        assert server.live_pin(name) == before and server.serial(name) != serial, said.text
        assert renewal(server, name).reuse_key is reuse, server.renewal(name).read_text()
    before, serial = server.live_pin("b.test"), server.serial("b.test")
    said = server.run(
        "certbot renew --cert-name b.test --force-renewal -i null --allow-subset-of-names"
    )
    assert said.code == 0 and server.live_pin("b.test") == before, said.text
    assert server.serial("b.test") != serial
    assert "allow_subset_of_names = True" in server.renewal("b.test").read_text()


def test_renew_brings_lineages_of_every_installer_into_step(server: Server) -> None:
    """Due or not: a snippet that is gone is written again, whatever installer it has."""
    server.run(f"certbot certonly {A} -d a.test -i null --force-renewal")
    server.snippet().unlink()
    said = server.run("certbot renew")
    assert said.code == 0 and server.snippet().exists(), said.text


def test_installer_that_fails_does_not_keep_a_certificate_from_being_loaded(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is brought up to date when certbot ends (G12)."""

    def fail(self: object) -> None:
        raise errors.PluginError("the other installer failed")

    monkeypatch.setattr(null.Installer, "restart", fail)
    for verb in (f"certonly {A} -d a.test", f"run {A} -d a.test", f"renew {A}"):
        said = server.run(f"certbot {verb} --force-renewal -i null")
        assert said.code == 1 and "the other installer failed" in said.text
        assert server.loaded_serial() == server.serial(), said.text


def test_g5_run_that_is_killed_after_issuance_is_completed_by_the_next_one(server: Server) -> None:
    """Whatever the installer: the certificate has a pinned key at once, and is loaded then."""
    live = server.live_pin()
    server.changed = lambda: replace(guard, "end", lambda config: os._exit(9))
    said = server.run(f"certbot certonly {A} -i null -d a.test -d www.a.test --expand")
    assert (said.code, server.live_pin()) == (9, live)
    assert renewal(server).reuse_key and server.loaded_serial() != server.serial()
    server.changed = None
    assert server.run("certbot renew").code == 0
    assert server.loaded_serial() == server.serial()
    server.sound()


# A certbot that lacks the plugin


@dataclass(frozen=True)
class Without:
    """What an admin types if the plugin is missing.

    :ivar kept: whether the key stays
    :ivar told: what ``certbot-pinkeep check`` says after it
    """

    line: str
    kept: bool
    told: str = "are sound"


@pytest.mark.parametrize("installer", ["pinkeep", "null"])
@pytest.mark.parametrize(
    "habit",
    [
        Without("renew --force-renewal", True, "does not serve the live certificate"),
        Without(
            f"certonly {A} -d a.test --force-renewal --reuse-key",
            True,
            "does not serve the live certificate",
        ),
        Without(f"certonly {A} -d a.test --force-renewal", False, "refuse"),
    ],
    ids=lambda habit: habit.line,
)
def test_certbot_without_the_plugin_is_never_stopped(
    server: Server, installer: str, habit: Without
) -> None:
    """It renews, keeps the key if its own options do, and check says what is to be done."""
    assert server.run(f"certbot renew {A} --force-renewal -i {installer}").code == 0
    live, serial = server.live_pin(), server.serial()
    server.changed = take_plugin_away
    said = server.run(f"certbot {habit.line}")
    assert said.code == 0, said.text
    assert (server.live_pin() == live) == habit.kept and server.serial() != serial
    server.changed = None
    assert habit.told in server.run("certbot-pinkeep check").text
    assert server.run("certbot renew").code == int(not habit.kept)


# A certbot that cannot be guarded


def test_certbot_that_cannot_be_guarded_keeps_keys_and_says_so(server: Server) -> None:
    """What renews keeps the key; what would be a new certificate of a pinned host is refused."""
    server.changed = be_strange
    live = server.live_pin()
    server.run("certbot certonly -d b.test")
    for words in ("", "--new-key", "--no-reuse-key"):
        other, path = server.live_pin("b.test"), server.renewal()
        path.write_text(path.read_text().replace("reuse_key = True\n", ""))
        said = server.run(f"certbot renew --force-renewal -i null {words}")
        assert said.code == 0 and server.live_pin() == live and "cannot hand over" in said.text
        assert renewal(server).reuse_key
        if words != "--no-reuse-key":  # it counts for all lineages of a run
            assert server.live_pin("b.test") != other and not renewal(server, "b.test").reuse_key
    for line in ("-d a.test --duplicate", "-d a.test -d b.test --expand"):
        said = server.run(f"certbot certonly {line}")
        assert said.code == 1 and "nothing was issued" in said.text, said.text
    assert server.run("certbot certonly -d b.test").code == 0


def test_g9_dry_run_of_a_certbot_that_cannot_be_guarded_writes_nothing(server: Server) -> None:
    """Not even into a renewal file that lacks reuse_key."""
    server.changed = be_strange
    path = server.renewal()
    path.write_text(path.read_text().replace("reuse_key = True\n", ""))
    before = tree(server.config), tree(server.work)
    assert server.run("certbot renew --dry-run -i null").code == 0
    assert (tree(server.config), tree(server.work)) == before


def test_g3_certbot_that_cannot_be_guarded_renews_if_nothing_can_be_told(server: Server) -> None:
    """All keys are kept then (G8)."""

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    def know_nothing() -> None:
        be_strange()
        replace(enrolled, "lineages", fail)

    server.changed = know_nothing
    live, serial = server.live_pin(), server.serial()
    said = server.run("certbot renew --force-renewal -i null --new-key")
    assert said.code == 0 and "keeps all keys" in said.text, said.text
    assert server.live_pin() == live and server.serial() != serial


# Leaving


def test_header_of_an_unpinned_keyring_is_taken_away_under_another_installer(
    server: Server,
) -> None:
    """The first renewal after the pins ran out does that; from the next one on certbot makes new keys."""
    assert server.run(f"certbot renew {A} --force-renewal -i null").code == 0
    assert server.run("certbot-pinkeep unpin a.test").code == 0
    server.wait(61)
    said = server.run("certbot renew")
    assert said.code == 0 and "no header is left" in said.text, said.text
    live = server.live_pin()
    assert server.run(f"certbot renew {A} --force-renewal --no-reuse-key -i null").code == 0
    assert server.live_pin() != live
