"""The zone as a carrier: recorded, written, seen, and only then believed (G2, G3, G5, G13)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from certbot_pinkeep.core import options
from certbot_pinkeep.core.errors import BadOption, NotSafe, PinkeepError
from certbot_pinkeep.core.state import State
from certbot_pinkeep.core.tlsa import Port, TlsaRecord, record_of
from certbot_pinkeep.core.zone_observations import Answer, NameServer, PortObservation, Records
from certbot_pinkeep.storage.store import Store
from certbot_pinkeep.workflow import releases, requests, zone
from simulated.values import NOW, fake_pin
from simulated.zone import MailMachine

NAME = "mail.example.com"
SMTP, SMTPS = Port(NAME, 25, "smtp"), Port(NAME, 465)
HOUR = timedelta(hours=1)
#: When a set that was seen first at NOW has settled: twice its TTL, and the settling time.
SETTLED = NOW + 3 * HOUR
CA = TlsaRecord(2, 1, 1, "ab" * 32)
FOREIGN = record_of(fake_pin("foreign"))


@pytest.fixture
def machine(tmp_path: Path) -> MailMachine:
    """A lineage that 25 and 465 serve, and a zone with two name servers."""
    return MailMachine(tmp_path, NAME, (SMTP, SMTPS), "ns1", "ns2")


def pins(records: Records) -> set[str]:
    """The pins that records carry."""
    return {base64.b64encode(bytes.fromhex(one.data)).decode() for one in records}


def there(machine: MailMachine, port: Port = SMTP, server: str = "ns2") -> set[str]:
    """The pins that a name server has for a port."""
    return pins(machine.zone.servers[server].get(port.owner, frozenset()))


def roll(machine: MailMachine, hours: float, **how: object) -> str:
    """Renew, however many hours after the start; the pin of the certificate then."""
    return machine.renew(NAME, NAME, NOW + hours * HOUR, **{**machine.given(), **how})


def published(machine: MailMachine) -> set[str]:
    """The pins that the keyring publishes."""
    return set(machine.state(NAME).keyring.published_pins())


def test_g13_life_of_a_zone(machine: MailMachine) -> None:
    """Pinned, held, rolled over; the old key leaves when the last port has loaded the new one."""
    first = machine.live
    outcome = machine.run(NOW)
    assert outcome is not None and outcome.written and not outcome.missing
    assert there(machine, SMTP) == there(machine, SMTPS) == published(machine)
    assert len(published(machine)) == 3 and first in published(machine)
    requests.ask(machine.workflow, NAME, NOW + HOUR, when_safe=True)
    assert roll(machine, 2.9) == first  # resolvers may hold what was there before
    second = roll(machine, 3.1)
    assert second != first
    machine.reload(SMTP)
    outcome = machine.run(NOW + 4 * HOUR)
    told = str(outcome.error()) if outcome else ""
    assert f"{NAME}:465 (192.0.2.25): It still shows the key with the pin" in told
    assert f"{NAME}:25 " not in told
    assert {first, second} < there(machine, SMTP) and first in there(machine, SMTPS)
    machine.reload(SMTPS)
    outcome = machine.run(NOW + 5 * HOUR)
    assert outcome is not None and outcome.error() is None
    assert there(machine, SMTP) == there(machine, SMTPS) == published(machine)
    assert first not in there(machine)


def test_g13_nobody_writes_or_looks_again_within_a_day(machine: MailMachine) -> None:
    """A run in which nothing is pending looks at most once a day."""
    machine.run(NOW)
    looks, written = machine.zone.looks, len(machine.zone.written)
    assert machine.step(NOW + HOUR, always=False) is None
    assert machine.zone.looks == looks
    assert machine.step(NOW + 25 * HOUR, always=False) is not None
    assert machine.zone.looks > looks and len(machine.zone.written) == written


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        pytest.param(lambda m: m.zone.put(SMTP, frozenset()), "", id="deleted by hand"),
        pytest.param(
            lambda m: m.zone.servers["ns2"].update({SMTP.owner: frozenset({FOREIGN})}),
            "may still serve",
            id="one name server has forgotten them",
        ),
        pytest.param(lambda m: m.zone.silent.add("ns2"), "could be asked", id="it does not answer"),
    ],
)
def test_g13_rollover_asks_anew(machine: MailMachine, trouble: object, told: str) -> None:
    """What was seen yesterday is no reason to roll over today; a zone without records binds nobody."""
    first = machine.live
    machine.run(NOW)
    machine.step(SETTLED)
    trouble(machine)  # type: ignore[operator]
    requests.ask(machine.workflow, NAME, SETTLED, when_safe=True)
    if not told:
        assert roll(machine, 4) != first
        return
    assert roll(machine, 4) == first
    with pytest.raises(NotSafe, match=told):
        machine.handed(NAME, NAME, NOW + 4 * HOUR, asked=True)


def test_g3_g13_zone_that_refuses_holds_the_rollover_and_not_the_renewal(
    machine: MailMachine,
) -> None:
    """The error says why, and which command to run."""
    machine.zone.put(SMTP, frozenset({record_of(machine.live)}))
    machine.zone.refusal = "The name server refused the update: BADSIG."
    first, outcome = machine.live, machine.run(NOW)
    assert outcome is not None and outcome.error() is not None
    assert "BADSIG" in str(outcome.error())
    assert f"Run: certbot-pinkeep dns {NAME}" in str(outcome.error())
    requests.ask(machine.workflow, NAME, NOW + 99 * HOUR, when_safe=True)
    assert roll(machine, 100) == first
    machine.zone.refusal = ""
    assert machine.run(NOW + 101 * HOUR) is not None
    assert roll(machine, 105) != first


def test_g13_what_lags_is_waited_for(machine: MailMachine) -> None:
    """No error, as it may come by itself; no rollover, as it has not come."""
    machine.zone.lagging = {"ns2"}
    machine.zone.put(SMTP, frozenset({record_of(machine.live)}))
    outcome = machine.run(NOW)
    assert outcome is not None and outcome.missing and outcome.error() is None
    first = machine.live
    requests.ask(machine.workflow, NAME, NOW + 50 * HOUR, when_safe=True)
    assert roll(machine, 99) == first
    outcome = machine.step(NOW + 100 * HOUR)
    assert outcome is not None and outcome.error() is not None  # nothing was written in this run
    assert "ns2 (192.0.2.1)" in str(outcome.error())


class Killed(BaseException):
    """The process is killed."""


def test_g5_kill_between_record_and_update(machine: MailMachine) -> None:
    """The set is on record; the next run writes it."""
    machine.zone.put(SMTP, frozenset({record_of(machine.live)}))
    machine.zone.died = Killed()
    with pytest.raises(Killed):
        machine.run(NOW)
    pending = [one for one in machine.state(NAME).ledger.zone if not one.confirmed]
    assert any(set(one.pins) == published(machine) for one in pending)
    assert there(machine) == {machine.live}
    outcome = machine.run(NOW + HOUR)
    assert outcome is not None and not outcome.missing and there(machine) == published(machine)


def test_g13_without_credentials_the_zone_is_observed(machine: MailMachine) -> None:
    """What is to be entered is told; once it is there, on each name server, a rollover is safe."""
    mine: dict[str, object] = {"dns_credentials": ""}
    machine.zone.put(SMTP, frozenset({record_of(machine.live)}))
    outcome = machine.run(NOW, **mine)
    assert outcome is not None and outcome.error() is not None and not machine.zone.written
    ((change, other),) = outcome.changes.values()
    assert {change.name, other.name} == {SMTP.owner, SMTPS.owner}
    assert pins(change.after) == published(machine)
    first = machine.live
    requests.ask(machine.workflow, NAME, NOW + HOUR, when_safe=True)
    for hours, servers in ((10, ("ns1",)), (40, ("ns1", "ns2"))):
        for server in servers:
            machine.zone.servers[server] = {one.name: one.after for one in (change, other)}
        machine.step(NOW + hours * HOUR)
        assert roll(machine, hours + 2.9, **mine) == first
    assert roll(machine, 43.1, **mine) != first


@pytest.mark.parametrize(
    "found",
    [
        pytest.param({CA}, id="an authority alone"),
        pytest.param({FOREIGN}, id="records that match nothing"),
        pytest.param({TlsaRecord(3, 0, 1, "cd" * 32)}, id="a whole certificate"),
        pytest.param({"live"}, id="made by hand, for the live key"),
        pytest.param({"live", FOREIGN, CA}, id="all of that"),
    ],
)
def test_g9_g13_zone_that_has_records_already(
    machine: MailMachine, found: set[TlsaRecord | str]
) -> None:
    """Nothing is removed that is not understood, and the first rollover is safe."""
    live = record_of(machine.live)
    before = frozenset(live if isinstance(one, str) else one for one in found)
    machine.zone.put(SMTP, before)
    machine.zone.put(SMTPS, before)
    assert machine.run(NOW) is not None
    first = machine.live
    requests.ask(machine.workflow, NAME, NOW + HOUR, when_safe=True)
    assert roll(machine, 24.9) == first  # others may have been there before
    assert roll(machine, 25.2) != first
    machine.reload(SMTP, SMTPS)
    machine.run(NOW + 26 * HOUR)
    assert machine.zone.servers["ns1"][SMTP.owner] >= before - {live}
    assert live not in machine.zone.servers["ns1"][SMTP.owner]


def test_g13_aliases_of_several_ports_are_one_name(machine: MailMachine) -> None:
    """A port that serves a foreign key keeps the name without records; then both have them."""
    machine.zone.aliases = {one.owner: f"_dane.{NAME}." for one in (SMTP, SMTPS)}
    machine.loaded[SMTPS] = (fake_pin("foreign"),)
    outcome = machine.run(NOW)
    assert outcome is not None and outcome.error() is not None and not machine.zone.written
    machine.reload(SMTPS)
    outcome = machine.run(NOW + HOUR)
    assert outcome is not None and not outcome.missing
    (change,) = machine.zone.written
    assert change.name == f"_dane.{NAME}." and pins(change.after) == published(machine)


def test_g13_alias_of_a_port_that_is_not_on_the_list_any_more_is_the_lists(
    machine: MailMachine,
) -> None:
    """Its name has the records of the other port; nothing is missing there, and nothing is held back."""
    name = f"_dane.{NAME}."
    machine.zone.aliases = {one.owner: name for one in (SMTP, SMTPS)}
    machine.zone.put(SMTP, frozenset({FOREIGN, record_of(machine.live)}))
    machine.run(NOW)
    machine.ports = (SMTP,)
    machine.zone.put(SMTP, frozenset({FOREIGN, record_of(machine.live)}))
    outcome = machine.run(NOW + HOUR)
    assert outcome is not None and outcome.written and not outcome.missing
    assert published(machine) < pins(machine.zone.servers["ns2"][name])


def test_g13_records_that_nobody_saw_are_not_written_over(machine: MailMachine) -> None:
    """The first name server has them, and is silent: for how long resolvers hold them is unknown."""
    machine.run(NOW)
    strange = frozenset({record_of(machine.live), FOREIGN})
    machine.zone.servers["ns1"][SMTP.owner] = strange
    machine.zone.silent.add("ns1")
    outcome = machine.run(NOW + HOUR)
    assert outcome is not None and not outcome.written
    assert "no name server shows yet" in " ".join(map(str, outcome.missing))
    assert machine.zone.servers["ns1"][SMTP.owner] == strange
    machine.zone.silent.clear()
    machine.run(NOW + 2 * HOUR)
    assert published(machine) < there(machine, server="ns1")


def test_g2_leaving_takes_the_records_away(machine: MailMachine) -> None:
    """Foreign ones stay, and keep ours there: alone they would keep mail from a port that serves our key."""
    machine.run(NOW)
    machine.zone.put(SMTP, machine.zone.servers["ns1"][SMTP.owner] | {FOREIGN})
    machine.ports = (SMTP,)
    machine.run(NOW + HOUR)
    assert not there(machine, SMTPS) and published(machine) < there(machine, SMTP)
    requests.unpin(machine.workflow, NAME, NOW + 2 * HOUR, undo=False)
    outcome = machine.step(NOW + 2 * HOUR)
    assert outcome is not None and "Delete the others first" in str(outcome.error())
    assert published(machine) < there(machine, SMTP)
    machine.zone.put(SMTP, machine.zone.servers["ns1"][SMTP.owner] - {FOREIGN})
    machine.step(NOW + 3 * HOUR)
    assert not there(machine, SMTP)


def test_g8_g13_nothing_ends_while_the_clock_is_set_back(machine: MailMachine) -> None:
    """From when a set is gone cannot be told: it counts from the time when the clock is right again."""
    machine.run(NOW)
    for days in (2, 4):
        machine.run(NOW + days * 24 * HOUR)  # the second finds nothing new
    machine.zone.put(SMTP, frozenset({record_of(machine.live), FOREIGN}))
    machine.step(NOW + 72 * HOUR)
    waiting = [set(one.pins) for one in machine.state(NAME).ledger.zone if not one.replaced]
    assert published(machine) in waiting and len(waiting) == 4
    machine.step(NOW + 97 * HOUR)
    ended = {one.replaced for one in machine.state(NAME).ledger.zone if one.replaced}
    assert ended == {NOW + 97 * HOUR}


def test_dry_run_writes_nothing(machine: MailMachine) -> None:
    """Neither the zone, nor what was seen."""
    machine.run(NOW)
    machine.zone.put(SMTP, frozenset({CA}))
    before = machine.store_text(NAME)
    outcome = machine.step(NOW + HOUR, dry_run=True)
    assert outcome is not None and outcome.changes and outcome.missing
    assert machine.store_text(NAME) == before
    assert machine.zone.servers["ns1"][SMTP.owner] == {CA}


def test_g10_host_of_another_keyring_is_told(machine: MailMachine) -> None:
    """It is no error of the renewal; nothing is written for it."""
    outcome = machine.run(NOW, tlsa="www.example.org:25")
    assert outcome is not None and "www.example.org" in str(outcome.error())
    assert not machine.zone.written


def test_g13_ports_that_are_named_with_the_rollover_hold_it_back(machine: MailMachine) -> None:
    """A key that is due is not handed over before anybody has looked at the zone."""
    machine.zone.put(SMTP, frozenset({record_of(machine.live)}))
    first = machine.live
    machine.keep(NAME, NAME, NOW, header="none")
    requests.ask(machine.workflow, NAME, NOW + 99 * HOUR, when_safe=True)
    assert roll(machine, 99) == first
    assert machine.run(NOW + 100 * HOUR) is not None
    assert roll(machine, 126) != first


@pytest.mark.parametrize("error", [PinkeepError("dnspython is not installed."), ValueError("odd")])
def test_g3_whatever_goes_wrong_in_a_look_the_renewal_goes_on(
    machine: MailMachine, error: Exception
) -> None:
    """A rollover waits (G8), and what comes later is told."""
    machine.run(NOW)
    machine.step(SETTLED)
    first = machine.live

    def missing(ports: object) -> list[object]:
        raise error

    machine.zone.records = missing  # type: ignore[assignment, method-assign]
    requests.ask(machine.workflow, NAME, SETTLED, when_safe=True)
    assert roll(machine, 4) == first
    outcome = machine.step(NOW + 5 * HOUR)
    assert outcome is not None and str(error) in str(outcome.error()).replace(
        "installed)", "installed."
    )


def test_g3_look_that_cannot_be_recorded_stops_no_renewal(
    machine: MailMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was seen counts all the same: the present key goes on if a name server is silent."""
    machine.run(NOW)
    machine.step(SETTLED)
    requests.ask(machine.workflow, NAME, SETTLED, when_safe=True)

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "save", full)
    first, later = machine.live, NOW + 4 * HOUR
    assert machine.handed(NAME, NAME, later).pin != first
    machine.zone.silent.add("ns2")
    assert machine.handed(NAME, NAME, later).pin == first


def test_g2_look_before_a_rollover_forgets_no_other_keyring(machine: MailMachine) -> None:
    """What the keyring that a lineage moves from may have published since counts after the look, too."""
    machine.run(NOW)
    workflow, now = machine.workflow, SETTLED
    state = workflow.load_state(NAME, now)
    assert state is not None and not state.ledger.in_doubt

    def with_incoming(state: State) -> State:
        return replace(state, ledger=state.ledger.with_uncertainty("its file is damaged"))

    workflow.with_incoming = with_incoming  # type: ignore[method-assign]
    seen = zone.before_rollover(workflow, with_incoming(state), None, now, dry_run=False)
    assert seen.ledger.in_doubt


def test_g13_certificate_that_follows_asks_anew(machine: MailMachine) -> None:
    """A name server is asked before a certificate gets a key that it did not have, whatever the reason."""
    machine.run(NOW)
    looks = machine.zone.looks
    machine.new("imap.example.com", NAME, SETTLED)
    assert machine.zone.looks == looks + 1


# The five ways in which mail was locked out while status and check were content


def test_g13_lockout_confirm_says_nothing_of_a_port(machine: MailMachine) -> None:
    """The admin reloads Apache and confirms that, while 465 has the old key: its record stays."""
    machine.run(NOW)
    first = machine.live
    requests.ask(machine.workflow, NAME, SETTLED, when_safe=True)
    assert roll(machine, 4) != first
    machine.reload(SMTP)
    with suppress(PinkeepError):  # no header waits for it
        requests.confirm(machine.workflow, NAME, NOW + 5 * HOUR)
    for hours in (5, 500):
        machine.run(NOW + hours * HOUR)
        assert first in there(machine, SMTPS)


def test_g13_lockout_release_whose_date_has_passed(machine: MailMachine) -> None:
    """Nobody touched the zone: its records are looked at, whatever the date says."""
    machine.zone.put(SMTP, frozenset({record_of(machine.live)}))
    machine.run(NOW, dns_credentials="")
    pinned = releases.ReleaseRequest(
        NAME, "dns", "tlsa", until=NOW + 9 * HOUR, pins=(machine.live,)
    )
    releases.add(machine.workflow, pinned, NOW + HOUR)
    later = NOW + 99 * HOUR
    with pytest.raises(NotSafe, match=f"may still serve the TLSA records of {SMTP} without it"):
        requests.ask(machine.workflow, NAME, later)


def test_g13_lockout_second_name_server(machine: MailMachine) -> None:
    """It does not have the records: the refusal says where to look, and the command shows it."""
    machine.zone.put(SMTP, frozenset({record_of(machine.live)}))
    machine.zone.lagging = {"ns2"}
    machine.run(NOW)
    with pytest.raises(NotSafe, match=f"Run: certbot-pinkeep dns {NAME}"):
        requests.ask(machine.workflow, NAME, NOW + 99 * HOUR)
    outcome = machine.step(NOW + 99 * HOUR)
    assert outcome is not None and "ns2 (192.0.2.1)" in str(outcome.error())


def test_g13_lockout_stale_process_behind_one_address(machine: MailMachine) -> None:
    """It shows itself in one of the looks: that is enough to hold the rollover."""
    machine.run(NOW)
    machine.step(SETTLED)
    old = Answer(NameServer("ns2", "192.0.2.1", 1), frozenset({record_of(machine.live)}), 3600)
    records = machine.zone.records
    machine.zone.records = lambda ports: [  # type: ignore[method-assign]
        replace(look, answers=(*look.answers, old)) for look in records(ports)
    ]
    first = machine.live
    requests.ask(machine.workflow, NAME, SETTLED, when_safe=True)
    assert roll(machine, 4) == first


def test_g13_lockout_two_commands_are_no_command() -> None:
    """``postfix reload && doveadm reload`` reloads Postfix alone, so it is refused; the error says how."""
    with pytest.raises(BadOption, match="--pinkeep-reload-command 'doveadm reload'"):
        options.parse({"reload-command": "postfix reload && doveadm reload"}, NAME)


def test_g8_port_whose_name_servers_are_gone_can_be_left(machine: MailMachine) -> None:
    """By the admin's word alone, once the port is off the list, and not while a record is shown."""
    machine.run(NOW)
    with pytest.raises(PinkeepError, match="is on the list"):
        zone.forget(machine.workflow, NAME, str(SMTPS), NOW)
    machine.zone.refusal = "No."
    machine.ports = (SMTP,)
    machine.run(NOW + HOUR)
    with pytest.raises(PinkeepError, match="still shows"):
        zone.forget(machine.workflow, NAME, str(SMTPS), NOW + HOUR)
    machine.zone.silent = {"ns1", "ns2"}
    machine.ports = ()
    outcome = machine.run(NOW + 2 * HOUR)
    assert outcome is not None
    for port in (SMTP, SMTPS):
        assert f"dns {NAME} --gone {port}" in str(outcome.error())
        assert zone.forget(machine.workflow, NAME, str(port), NOW + 2 * HOUR) == NOW + 5 * HOUR
    assert machine.step(NOW + 3 * HOUR) is None
    with pytest.raises(PinkeepError, match="No records"):
        zone.forget(machine.workflow, NAME, str(SMTP), NOW + 3 * HOUR)


def test_g13_one_of_several_processes_that_was_forgotten_keeps_the_key(
    machine: MailMachine,
) -> None:
    """Port 465 shows the old key only now and then: its record stays, and the port is told."""
    machine.run(NOW)
    first = machine.live
    requests.ask(machine.workflow, NAME, SETTLED, when_safe=True)
    assert roll(machine, 4) != first
    machine.reload(SMTP, SMTPS)
    looks, services = [0], machine.services

    def seen(ports: Sequence[Port]) -> list[PortObservation]:
        looks[0] += 1
        stale = looks[0] in (1, 3)
        return [
            replace(one, pins=(*one.pins, first)) if stale and one.port == SMTPS else one
            for one in services(ports)
        ]

    machine.services = seen  # type: ignore[method-assign]
    outcome = machine.run(NOW + 5 * HOUR)
    assert outcome is not None and str(SMTPS) in str(outcome.error())
    assert first in there(machine, SMTPS)
