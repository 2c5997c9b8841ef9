"""At which hosts a snippet has the header sent: it follows the keyring's lineages."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from certbot_pinkeep.carriers import apache
from certbot_pinkeep.core.errors import PinkeepError
from certbot_pinkeep.workflow import requests
from simulated.machine import Machine
from simulated.values import DAY, NOW

RING, WWW, API = "ring", "www.test", "api.test"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A keyring of one lineage."""
    found = Machine(tmp_path)
    found.issue(WWW)
    found.keep(WWW, RING)
    return found


def snippet(machine: Machine, keyring: str = RING) -> Path:
    """A keyring's snippet."""
    return Path(machine.state(keyring).snippet)


def hosts(machine: Machine, keyring: str = RING) -> list[str]:
    """The hosts at which a snippet has its header sent."""
    condition = apache.condition(snippet(machine, keyring).read_text())
    names = re.sub(r"^.*\^\(\?:|\).*$", "", condition).split("|")
    return [re.sub(r"\\", "", name).replace("[^.:]+", "*") for name in names]


def joined(machine: Machine) -> None:
    """Another lineage joins."""
    machine.issue(API)
    machine.keep(API, RING, NOW + DAY)


def expanded(machine: Machine) -> None:
    """The certificate gets another name, and keeps its key."""
    key = (machine.config / "live" / WWW / "privkey.pem").read_bytes()
    machine.issue(WWW, key, (WWW, API))
    machine.keep(WWW, RING, NOW + DAY)


def shrunk(machine: Machine) -> None:
    """A name is left out again."""
    expanded(machine)
    key = (machine.config / "live" / WWW / "privkey.pem").read_bytes()
    machine.issue(WWW, key, (WWW,))
    machine.keep(WWW, RING, NOW + 2 * DAY)


def deleted(machine: Machine) -> None:
    """A lineage that joined is deleted."""
    joined(machine)
    machine.delete(API)
    machine.keep(WWW, RING, NOW + 2 * DAY)


def neighbour(machine: Machine) -> None:
    """A wildcard certificate that is not enrolled covers the host: other hosts are none of ours."""
    machine.issue("wild", hosts=("*.test", "foreign.test"))
    machine.keep(WWW, RING, NOW + DAY)
    machine.issue("foreign.test")
    machine.keep(WWW, RING, NOW + 2 * DAY)


@dataclass(frozen=True)
class Case:
    """What happens to a keyring, and the hosts of its snippet after that."""

    happens: Callable[[Machine], None]
    hosts: list[str]


CASES = [
    Case(lambda machine: None, [WWW]),
    Case(joined, [API, WWW]),
    Case(expanded, [API, WWW]),
    Case(shrunk, [WWW]),
    Case(deleted, [WWW]),
    Case(neighbour, [WWW]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.happens.__name__)
def test_snippet_has_the_hosts_of_the_keyrings_lineages(machine: Machine, case: Case) -> None:
    """Apache is reloaded when the snippet has changed, and nothing is pending."""
    before = snippet(machine).read_text(), machine.apache.reloads
    case.happens(machine)
    assert hosts(machine) == case.hosts
    assert not machine.state(RING).ledger.pending
    after = snippet(machine).read_text(), machine.apache.reloads
    assert after[0] == before[0] or after[1] > before[1]


def test_move_takes_the_host_out_of_the_keyring_that_is_left(machine: Machine) -> None:
    """In the same run: one header is sent at the host, in whatever order Apache reads the snippets."""
    joined(machine)
    workflow = machine.workflow
    workflow.enrol(machine.look(API), machine.options("zz"), NOW + 2 * DAY)
    reports, failures = workflow.publish_all(workflow.waiting, NOW + 2 * DAY)
    assert ([report.keyring for report in reports], failures) == (["zz", RING], [])
    assert (hosts(machine), hosts(machine, "zz")) == ([WWW], [API])


def test_last_lineage_that_moves_leaves_a_snippet_for_no_host(machine: Machine) -> None:
    """Apache still includes it, and it covers no certificate any more."""
    machine.keep(WWW, RING, NOW, include_subdomains=True)
    machine.issue(f"below.{WWW}")
    workflow = machine.workflow
    workflow.enrol(machine.look(WWW), machine.options("zz"), NOW + DAY)
    assert workflow.publish_all(workflow.waiting, NOW + DAY)[1] == []
    assert apache.condition(snippet(machine).read_text()) == "false"
    assert hosts(machine, "zz") == [WWW]


def test_snippet_of_version_01_is_written_anew_and_locks_nobody_out(machine: Machine) -> None:
    """It is right where it is included: nothing is pending, and no policy is recorded twice."""
    path, before = snippet(machine), machine.state(RING).ledger
    new = path.read_text()
    path.write_text(re.sub(" && .*", '"', new))
    assert apache.condition(path.read_text()) == ""
    report = machine.keep(WWW, RING, NOW + DAY)
    assert (path.read_text(), report.reloaded, report.published) == (new, True, False)
    assert machine.state(RING).ledger == before


def test_g6_hosts_that_fail_the_test_leave_the_earlier_snippet(machine: Machine) -> None:
    """The next run that passes the test brings them in."""
    before = snippet(machine).read_text()
    machine.issue(API)
    machine.apache.break_config()
    with pytest.raises(PinkeepError, match="configuration test failed"):
        machine.keep(API, RING, NOW + DAY)
    assert snippet(machine).read_text() == before
    machine.apache.mend_config()
    machine.keep(API, RING, NOW + DAY)
    assert hosts(machine) == [API, WWW]


def test_g2_snippet_with_other_hosts_is_not_confirmed(machine: Machine) -> None:
    """What Apache sends at the hosts that were taken out is not known to have ended."""
    machine.keep(WWW, RING, NOW + DAY, reload_command="", max_age=1000)
    path = snippet(machine)
    new = path.read_text()
    path.write_text(new.replace("www", "xxx"))
    with pytest.raises(PinkeepError, match="is not what was published last"):
        requests.confirm(machine.workflow, RING, NOW + DAY)
    path.write_text(new)
    requests.confirm(machine.workflow, RING, NOW + DAY)
    assert not machine.state(RING).ledger.pending
