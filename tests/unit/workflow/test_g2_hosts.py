"""Pins belong to hosts: all certificates of this machine for a host are pinned, and draw on one keyring."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from certbot_pinkeep.adapters import certificates, clock, revocation
from certbot_pinkeep.cli import main
from certbot_pinkeep.core.errors import Compromised, OtherKeyring, Unpinnable
from certbot_pinkeep.workflow import requests
from certbot_pinkeep.workflow.run import Run
from simulated.machine import RSA_KEY, Machine
from simulated.server import Server, sign
from simulated.values import DAY, HOUR, NOW, csr_of, foreign_certificate, make_pem, pin_of_key
from simulated.workflow import take_turn

WWW, API, SHOP = "www.pin.test", "api.pin.test", "shop.pin.test"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine without any pins."""
    monkeypatch.setattr(clock, "now", lambda: NOW)
    return Machine(tmp_path)


@pytest.fixture
def pinned(machine: Machine) -> Machine:
    """One lineage, ``a``, is pinned for WWW."""
    machine.issue("a", hosts=(WWW,))
    machine.keep("a", "a")
    return machine


def keyring_of(machine: Machine, name: str, **given: object) -> object:
    """The keyring that a lineage draws on, by the options; ``None``: the one with its name."""
    names = machine.look(name).names
    return machine.workflow.values(name, {"keyring": None, **given}, {}, names, NOW)["keyring"]


def run(machine: Machine, *names: str) -> Run:
    """A run of certbot that brings these lineages up to date; the others are up to date."""
    one = Run(str(machine.config), str(machine.work))
    one.notice()
    for name in names:
        keyring = str(keyring_of(machine, name) or name)
        chosen = machine.options(keyring)
        take_turn(one, machine.look(name), {}, chosen)
    one.finish()
    return one


# Which keyring a lineage has


@pytest.mark.parametrize(
    ("hosts", "keyring"),
    [
        ((WWW,), "a"),
        ((WWW.upper(),), "a"),
        ((API, WWW), "a"),
        (("*.pin.test",), "a"),
        ((f"x.{WWW}",), None),
        ((API,), None),
    ],
    ids=["same", "capitals", "a name more", "wildcard", "below", "another"],
)
def test_g2_lineage_draws_on_the_keyring_of_its_hosts(
    pinned: Machine, hosts: tuple[str, ...], keyring: str | None
) -> None:
    """Whatever its own name is: it was doubled, renamed, or made anew."""
    pinned.issue("b", hosts=hosts)
    assert keyring_of(pinned, "b") == keyring


def test_g2_subdomain_draws_on_the_keyring_that_covers_it(pinned: Machine) -> None:
    """Its pins bind there with includeSubDomains."""
    pinned.keep("a", "a", NOW + HOUR, include_subdomains=True)
    pinned.issue("b", hosts=(f"x.{WWW}",))
    assert keyring_of(pinned, "b") == "a"


def test_g2_keyring_that_is_named_counts_first(pinned: Machine) -> None:
    """By the option, or because it has the lineage; the keyring of the host comes after."""
    pinned.issue("b", hosts=(WWW,))
    assert keyring_of(pinned, "b", keyring="other") == "other"
    pinned.issue("c", hosts=(API,))
    pinned.keep("c", "c")
    pinned.issue("c", make_pem(), (API, WWW))
    assert keyring_of(pinned, "c") is None


def test_g2_new_lineage_of_a_pinned_host_gets_the_key_of_its_keyring(pinned: Machine) -> None:
    """Also after its certificate was deleted: whoever holds the pins accepts it."""
    primary = pinned.members("a")["a"]
    pinned.delete("a")
    assert pinned.workflow.keyring_at((WWW,), NOW + DAY) == "a"
    assert pinned.new("www-0001", "a", NOW + DAY, hosts=(WWW,)) == primary


def test_g2_name_of_a_deleted_lineage_is_free(tmp_path: Path) -> None:
    """A new lineage of that name draws on the keyring of its own hosts, also at later renewals."""
    server = Server(tmp_path)
    server.pinned("a.test")
    server.pinned("b.test")
    server.delete_lineage("a.test")
    server.certify("a.test", "b.test")
    said = server.run("certbot renew --force-renewal")
    assert said.code == 0, said.text
    assert [m.lineage for m in server.state("b.test").keyring.drawing] == ["b.test", "a.test"]
    assert server.live_pin("a.test") == server.live_pin("b.test")


def test_g2_certificate_that_gains_a_pinned_host_gets_the_key_that_its_clients_hold(
    tmp_path: Path,
) -> None:
    """Also if that host is seen to send the pins: they are the keyring's own."""
    server = Server(tmp_path)
    server.pinned("a.test")
    server.certify("b.test", installer="null")
    server.certify("b.test", "b.test", "a.test", more="--expand")
    assert server.live_pin("b.test") == server.live_pin("a.test")
    server.sound()


def test_g2_renamed_lineage_goes_on(pinned: Machine) -> None:
    """Nothing was lost: its rollovers are not held up."""
    pem = (pinned.config / "live" / "a" / "privkey.pem").read_bytes()
    pinned.delete("a")
    pinned.issue("renamed", pem, (WWW,))
    pinned.keep("renamed", "a", NOW + DAY, pinned=True)
    assert pinned.members("a") == {"renamed": pin_of_key(pem)}
    assert pinned.state("a").ledger.uncertain is None


# What is pinned


@pytest.mark.parametrize("order", [("rsa", "ecdsa"), ("ecdsa", "rsa")])
def test_g2_g4_first_publication_has_the_keys_of_all_types(
    machine: Machine, order: tuple[str, str]
) -> None:
    """One host with RSA and ECDSA, one enrolled after the other: both live keys are pinned from the
    beginning, each type with two backups of its own. The second one joins, and nothing changes."""
    live = {
        "rsa": machine.issue("rsa", RSA_KEY, (WWW,)),
        "ecdsa": machine.issue("ecdsa", hosts=(WWW,)),
    }
    first = machine.keep(order[0], "both")
    assert set(live.values()) <= set(first.pins) and len(first.pins) == 6
    assert first.neighbours == {order[1]: True}
    keyring = machine.state("both").keyring
    assert [len(keyring.backups(kind)) for kind in ("rsa", "ecdsa")] == [2, 2]
    second = machine.keep(order[1], "both", NOW + HOUR)
    assert set(second.pins) == set(first.pins) and not second.neighbours
    assert machine.state("both").keyring.neighbours == ()


def test_g2_every_certificate_of_the_host_is_pinned(machine: Machine) -> None:
    """Three lineages, one of them with a name more, one expired, one that another installer renews,
    and a wildcard; not one of another host."""
    pins = {machine.issue("a", hosts=(WWW,)), machine.issue("more", hosts=(API, WWW))}
    pins |= {machine.issue("wild", hosts=("*.pin.test",))}
    pins |= {machine.issue("apache", hosts=(WWW,))}
    renewal = machine.renewal("apache")
    renewal.write_text(renewal.read_text().replace("pinkeep", "apache"))
    before = renewal.read_text()
    other = machine.issue("other", hosts=(API,))
    machine.keep("a", "a", NOW + 400 * DAY)  # all of them are expired by then
    published = set(machine.published("a").pins)
    assert pins <= published and other not in published
    assert machine.state("a").keyring.hosts == (WWW,)  # no host is pinned that was not enrolled
    assert renewal.read_text() == before  # G9


def test_g2_key_that_two_certificates_share_is_pinned_once(machine: Machine) -> None:
    """Also a lineage that is in live/ alone."""
    pem = make_pem()
    machine.issue("a", pem, (WWW,))
    machine.issue("b", pem, (WWW,))
    machine.renewal("b").unlink()
    assert len(machine.keep("a", "a").pins) == 3


def test_g2_neighbour_is_pinned_with_its_next_key(pinned: Machine) -> None:
    """Plain certbot renews it with a new key: that is pinned at once, though all of the keyring's own
    lineages are up to date; the old one retires."""
    old = pinned.issue("b", RSA_KEY, (WWW,))
    run(pinned)
    assert old in pinned.published("a").pins
    new = pinned.issue("b", hosts=(WWW,))
    run(pinned)
    published = pinned.published("a").pins
    assert new in published and pinned.role("a", new) == "in-service"


def test_g2_neighbour_that_is_renewed_last_is_pinned_in_the_same_run(tmp_path: Path) -> None:
    """Another ACME client, called by a hook, renews it with a new key after the keyring's own lineages."""
    server = Server(tmp_path)
    server.pinned("a.test")
    old, new = make_pem(), make_pem()
    live, renewed = server.live("b.test") / "cert.pem", tmp_path / "renewed.pem"
    live.parent.mkdir()
    live.write_bytes(sign(csr_of(old, ["a.test"]), 0)[0])
    renewed.write_bytes(sign(csr_of(new, ["a.test"]), 0)[0])
    for hook, key in (("true", old), (f"cp {renewed} {live}", new)):
        said = server.run(["certbot", "renew", "--force-renewal", "--post-hook", hook])
        policy = server.sent("a.test")
        assert said.code == 0 and policy is not None
        assert pin_of_key(key) in policy.pins, said.text


@pytest.mark.parametrize("leaves", ["deleted", "names"])
def test_g2_neighbour_that_is_gone_is_not_pinned_any_more(pinned: Machine, leaves: str) -> None:
    """It was deleted, or is for other hosts now."""
    own = pinned.issue("b", hosts=(WWW,))
    run(pinned)
    assert own in pinned.published("a").pins
    if leaves == "deleted":
        pinned.delete("b")
    else:
        pinned.issue("b", hosts=(API,))
    run(pinned)
    assert pinned.role("a", own) == "retired" and own not in pinned.published("a").pins
    assert pinned.state("a").keyring.neighbours == ()


def test_g2_neighbour_that_gains_the_host_is_noticed(pinned: Machine) -> None:
    """``--expand`` on a lineage of another installer."""
    pem = make_pem()
    own = pinned.issue("b", pem, (API,))
    run(pinned)
    assert own not in pinned.published("a").pins
    pinned.issue("b", pem, (API, WWW))
    run(pinned)
    assert own in pinned.published("a").pins


def test_lineage_that_was_deleted_leaves_though_the_others_are_up_to_date(pinned: Machine) -> None:
    """The header is sent at its hosts no more; a keyring without any other lineage stays as it is."""
    pinned.issue(API)
    run(pinned)
    pinned.keep(API, "a")
    run(pinned)
    for name, left in ((API, {WWW}), (WWW, {WWW})):
        pinned.delete("a" if name == WWW else name)
        run(pinned)
        assert set(pinned.state("a").keyring.served_at) == left


def test_a_run_without_news_looks_at_file_stamps_only(
    pinned: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No certificate is read, and nothing is published."""
    pinned.issue("b", hosts=(WWW,))
    run(pinned)
    monkeypatch.setattr(certificates, "_seen", _forbidden)
    one = Run(str(pinned.config), str(pinned.work))
    one.notice()
    assert not one.waiting


def test_each_certificate_is_read_once_in_a_run(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many keyrings are published."""
    read: list[str] = []
    seen = certificates._seen

    def counted(name: str, path: str) -> certificates.LiveCertificate | None:
        read.append(name)
        return seen(name, path)

    monkeypatch.setattr(certificates, "_seen", counted)
    names = [f"{number}.test" for number in range(5)]
    for name in names:
        machine.issue(name)
    run(machine, *names)
    assert sorted(read) == sorted(set(read)) and len(read) == len(names)


def _forbidden(name: str, path: str) -> None:
    raise AssertionError(f"{path} of {name} is read")


def test_g3_neighbour_with_a_key_that_is_compromised_is_no_backup(machine: Machine) -> None:
    """It is pinned while it is live, and never handed over."""
    machine.issue("old", hosts=(API,))
    machine.keep("old", "old")
    requests.ask(machine.workflow, "old", NOW + HOUR, when_safe=True, compromised=True)
    pem = (machine.config / "live" / "old" / "privkey.pem").read_bytes()
    own = machine.issue("b", pem, (WWW,))
    machine.issue("a", hosts=(WWW,))
    machine.keep("a", "a", NOW + DAY)
    assert machine.role("a", own) == "compromised" and own in machine.published("a").pins


@pytest.mark.parametrize("kind", ["rsa-1024", "ed25519"])
def test_g2_nothing_is_pinned_first_beside_a_key_that_cannot_be_pinned(
    machine: Machine, kind: str
) -> None:
    """The host may serve it. With a key of another kind for that certificate, the pins go out."""
    machine.issue("b", hosts=(API,))
    (machine.config / "live" / "b" / "cert.pem").write_bytes(foreign_certificate(kind, API))
    machine.issue("a", hosts=(API,))
    with pytest.raises(Unpinnable, match=r"--cert-name b --force-renewal.* --new-key"):
        machine.keep("a", "a")
    assert not machine.snippet("a").exists()
    own = machine.issue("b", hosts=(API,))
    machine.keep("a", "a", NOW + HOUR)
    assert own in machine.published("a").pins


def test_g2_neighbour_whose_private_key_is_another_one_is_pinned(machine: Machine) -> None:
    """The pin is that of the certificate; a key of its own stands ready for its type."""
    own = machine.issue("b", RSA_KEY, (WWW,))
    (machine.config / "live" / "b" / "privkey.pem").write_bytes(make_pem())
    machine.issue("a", hosts=(WWW,))
    machine.keep("a", "a")
    keyring = machine.state("a").keyring
    primary = keyring.primary("rsa")
    assert own in machine.published("a").pins and primary is not None and primary.pin != own


def test_g2_host_stays_pinned_with_its_neighbour(machine: Machine) -> None:
    """Its enrolled lineage is deleted, and the header goes on at the host: with the neighbour's key, also
    the next one of that."""
    machine.issue("a", hosts=(WWW,))
    machine.issue("b", hosts=(WWW, API))
    machine.issue("c", hosts=(SHOP,))
    machine.keep("a", "one")
    machine.keep("c", "one")
    machine.delete("a")
    run(machine, "c")
    own = machine.issue("b", hosts=(WWW, API))
    run(machine, "c")
    assert own in machine.published("one").pins
    assert set(machine.state("one").keyring.hosts) == {WWW, SHOP}
    assert keyring_of(machine, "b") == "one"


def test_g2_neighbour_goes_along_when_its_host_moves(machine: Machine) -> None:
    """The old keyring lets go of the host when the move is confirmed."""
    for name, host in (("a", WWW), ("b", WWW), ("c", SHOP)):
        machine.issue(name, hosts=(host,))
    machine.keep("a", "one")
    machine.keep("c", "one")
    machine.keep("a", "two", NOW + HOUR, pinned=True)
    assert machine.look("b").pin in machine.published("two").pins
    requests.confirm(machine.workflow, "two", NOW + HOUR)
    assert machine.state("one").keyring.neighbours == ()
    assert machine.state("one").keyring.hosts == (SHOP,)


# One key after the other


def test_g2_two_lineages_for_a_host_are_renewed_one_after_the_other(machine: Machine) -> None:
    """``b`` is a duplicate that Apache serves: both draw on one keyring, and each renewal of either is
    for a key that all clients accept."""
    a, b = (machine.issue(name, hosts=(WWW,)) for name in ("a", "b"))
    run(machine, "a", "b")
    assert machine.workflow.store.names() == ["a"] and machine.members("a") == {"a": a, "b": b}
    assert {a, b} <= set(machine.published("a").pins)
    assert machine.renew("b", "a", NOW + DAY) == a
    assert machine.published("a").pins[0] == a


@pytest.mark.parametrize("enrolled", [True, False])
def test_g2_forced_rollover_tells_of_who_is_refused_already(
    pinned: Machine, enrolled: bool
) -> None:
    """A certificate came later, and clients hold pins without its key. The command lets all in."""
    pinned.issue("b", hosts=(WWW,))
    if enrolled:
        pinned.keep("b", "a", NOW + HOUR)
    said = " ".join(requests.ask(pinned.workflow, "a", NOW + DAY, force=True).told)
    assert "locks nobody out" not in said
    assert "certbot renew --cert-name b --force-renewal --installer pinkeep" in said
    requests.take_back(pinned.workflow, "a", NOW + DAY)
    assert pinned.renew("b", "a", NOW + DAY) == pinned.members("a")["a"]
    said = " ".join(requests.ask(pinned.workflow, "a", NOW + 2 * DAY, force=True).told)
    assert "This rollover locks nobody out." in said


def test_rollover_is_not_held_up_by_the_type_of_a_neighbour(machine: Machine) -> None:
    """It is not the keyring's business when that rolls over."""
    machine.issue("a", hosts=(WWW,))
    machine.keep("a", "a")
    machine.issue("rsa", RSA_KEY, (WWW,))
    run(machine, "a")
    assert machine.state("a").keyring.key_types() == ("rsa", "ecdsa")
    assert requests.ask(machine.workflow, "a", NOW + DAY).ready


# Names that two keyrings pin


@pytest.fixture
def between(machine: Machine) -> Machine:
    """``one`` pins WWW, ``two`` pins API, and ``both`` is a certificate for the two of them."""
    for name, host in (("one", WWW), ("two", API)):
        machine.issue(name, hosts=(host,))
        machine.keep(name, name)
    machine.issue("both", hosts=(WWW, API))
    run(machine, "one", "two")
    return machine


def test_g2_g3_certificate_between_two_keyrings_keeps_its_key(between: Machine) -> None:
    """Both pin it; no key of either is accepted at the other's host, so its renewals keep it."""
    own = between.look("both").pin
    assert own in between.published("one").pins and own in between.published("two").pins
    for keyring in ("one", "two"):
        assert between.handed("both", keyring, NOW + 100 * DAY).pin == own


@pytest.mark.parametrize("on_record", [False, True])
def test_g2_g3_certificate_between_two_keyrings_with_a_compromised_key_is_not_renewed(
    between: Machine, monkeypatch: pytest.MonkeyPatch, on_record: bool
) -> None:
    """Whether the CA alone says that the key is compromised, in a dry run, or it is on record: clients of
    the other keyring refuse the key of the first. If one keyring pins both names, its rules count."""
    live, at = between.look("both"), NOW + 100 * DAY
    if on_record:
        requests.note_revoked(between.workflow, live.pin, NOW + DAY, compromised=True)
    else:
        answer = revocation.Answer(True, "keyCompromise")
        monkeypatch.setattr(revocation, "look", lambda *given: answer)
    move = "certbot renew --cert-name two --installer pinkeep --pinkeep-keyring one$"
    with pytest.raises(Compromised, match=move):
        between.workflow.handover(live, "one", live.names, at, dry_run=not on_record)


def test_g2_certificate_between_two_keyrings_is_enrolled_when_they_are_one(
    between: Machine,
) -> None:
    """The message names which lineage moves; when that is done and confirmed, it joins."""
    keyring = str(keyring_of(between, "both"))
    stays = {"one": "two", "two": "one"}[keyring]
    move = f"certbot renew --cert-name {stays} --installer pinkeep --pinkeep-keyring {keyring}"
    with pytest.raises(OtherKeyring, match=move):
        between.keep("both", keyring, NOW + DAY)
    between.keep(stays, keyring, NOW + DAY, pinned=True)
    between.keep("both", keyring, NOW + DAY)
    requests.confirm(between.workflow, keyring, NOW + DAY)
    assert set(between.members(keyring)) == {"one", "two", "both"}


@pytest.fixture
def expanded(machine: Machine) -> Machine:
    """``one`` pins WWW, ``two`` pins API; then ``two`` was expanded by WWW without pinkeep, with a new key
    that certbot did not note to keep."""
    for name, host in (("one", WWW), ("two", API)):
        machine.issue(name, hosts=(host,))
        machine.keep(name, name)
    machine.issue("two", hosts=(API, WWW))
    path = machine.renewal("two")
    path.write_text(path.read_text().replace("installer = pinkeep", "installer = None"))
    return machine


def follow(machine: Machine, hosts: tuple[str, ...]) -> str:
    """``certbot`` issues ``two`` for these names once more; the pin of its key."""
    live = machine.look("two")
    handed = machine.workflow.handover(live, "two", hosts, NOW + DAY)
    machine.issue("two", handed.key_pem, hosts)
    return handed.pin


def told_of(machine: Machine) -> str:
    """What ``certbot renew --installer pinkeep`` says of ``two``."""
    with pytest.raises(OtherKeyring) as told:
        machine.keep("two", "two", NOW + DAY)
    return str(told.value)


def test_g2_expanded_certificate_goes_back_to_the_key_of_its_own_keyring(
    expanded: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """Each command that is named leads on: back to the pinned key, then apart; nobody is refused by then."""
    pinned_pin = expanded.members("two")["two"]
    run(expanded, "one")  # pins the new key, as that of a neighbour
    told = told_of(expanded)
    assert "both keyrings pin" not in told
    assert told.endswith("certbot renew --cert-name two --force-renewal --installer pinkeep")
    assert follow(expanded, (API, WWW)) == pinned_pin
    assert f"refuse two at {WWW}. Serve {WWW} with a certificate of one" in caplog.text
    told = told_of(expanded)
    assert f"Serve {WWW} with the certificate one" in told and "both keyrings pin" not in told
    assert told.endswith(f"certbot certonly --installer pinkeep --cert-name two -d {API}")
    assert follow(expanded, (API,)) == pinned_pin
    expanded.keep("two", "two", NOW + DAY)
    assert expanded.look("two").names == (API,)


def test_g2_expanded_certificate_can_lose_the_other_keyrings_host_at_once(
    expanded: Machine,
) -> None:
    """The pins of that host do not keep it from its own keyring's key."""
    pinned_pin = expanded.members("two")["two"]
    assert follow(expanded, (API,)) == pinned_pin
    expanded.keep("two", "two", NOW + DAY)


def test_g2_g12_certificate_with_its_own_keyrings_key_is_loaded(expanded: Machine) -> None:
    """Also if another keyring refuses it at a host, and no version of it is known to be loaded."""
    follow(expanded, (API, WWW))
    state = expanded.state("two")
    expanded.workflow.store.save(replace(state, keyring=state.keyring.loaded("two", "")))
    one = Run(str(expanded.config), str(expanded.work))
    values = {
        "configtest-command": expanded.apache.configtest[0],
        "reload-command": expanded.apache.reload[0],
    }
    one.loader.note("two", "two", values, issued=True)
    before = expanded.apache.reloads
    one.finish()
    assert expanded.apache.reloads == before + 1


def test_g2_certificate_that_is_said_to_keep_its_key_does(between: Machine) -> None:
    """A plain renewal keeps it as well: that is noted in its renewal file."""
    with pytest.raises(OtherKeyring, match="which both keyrings pin"):
        between.keep("both", str(keyring_of(between, "both")), NOW + DAY)
    assert "reuse_key = True" in between.renewal("both").read_text()


def test_g2_new_certificate_between_two_keyrings_is_told_to_be_two(between: Machine) -> None:
    """Its command asks for one that draws on the keyring of its host."""
    with pytest.raises(OtherKeyring, match=rf"certbot certonly --installer pinkeep -d {API}"):
        between.new("new", "one", NOW + DAY, hosts=(WWW, API))
    assert between.workflow.keyring_at((API,), NOW + DAY) == "two"


@pytest.mark.parametrize("new", [True, False])
def test_g2_another_keyring_for_a_host_is_refused_with_a_command_that_works(
    pinned: Machine, new: bool
) -> None:
    """The one that draws on the host's keyring."""
    if new:
        run_ = "certonly --cert-name b --installer pinkeep --pinkeep-keyring a -d "
        with pytest.raises(OtherKeyring, match=run_ + WWW):
            pinned.new("b", "b", NOW + DAY, hosts=(WWW,))
        pinned.new("b", "a", NOW + DAY, hosts=(WWW,))
    else:
        pinned.issue("b", hosts=(WWW,))
        with pytest.raises(OtherKeyring, match=r"renew --cert-name b .* --pinkeep-keyring a"):
            pinned.keep("b", "b", NOW + DAY)
        pinned.keep("b", "a", NOW + DAY)
    assert set(pinned.members("a")) == {"a", "b"}


def test_g2_certificate_that_comes_while_a_host_moves_draws_on_the_new_keyring(
    pinned: Machine,
) -> None:
    """That one has imported what binds there."""
    pinned.keep("a", "two", NOW + DAY, pinned=True)
    pinned.issue("b", hosts=(WWW,))
    assert keyring_of(pinned, "b") == "two"
    pinned.keep("b", "two", NOW + DAY)
    assert set(pinned.members("two")) == {"a", "b"}


# The hook, the record


def test_g2_hook_pins_a_neighbour_that_another_installer_renews(
    pinned: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At once; that clients with earlier pins refuse it, and what to run, is said."""
    own = pinned.issue("b", hosts=(WWW,))
    renewal = pinned.renewal("b")
    renewal.write_text(renewal.read_text().replace("pinkeep", "apache"))
    monkeypatch.setenv("RENEWED_LINEAGE", str(pinned.config / "live" / "b"))
    monkeypatch.setattr(clock, "now", lambda: NOW + HOUR)
    state = pinned.state("a")
    pinned.workflow.store.save(replace(state, settings=pinned.options("a").settings))
    assert main.main(["deploy-hook", "--work-dir", str(pinned.work)]) == 1
    told = "certbot renew --cert-name b --force-renewal --installer pinkeep --pinkeep-keyring a"
    assert told in capsys.readouterr().err
    assert own in pinned.published("a").pins


def test_status_tells_of_neighbours(pinned: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """They are no lineages of the keyring, and how to enrol them is said."""
    pinned.issue("b", hosts=(WWW,))
    run(pinned, "a")
    words = ["--config-dir", str(pinned.config), "--work-dir", str(pinned.work)]
    assert main.main(["status", *words]) == 0
    assert "certbot renew --cert-name b --installer pinkeep" in capsys.readouterr().out
    assert main.main(["status", "--json", *words]) == 0
    assert '"lineages": [\n        "a"\n      ]' in capsys.readouterr().out
