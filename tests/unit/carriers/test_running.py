"""A server that does not run is never started (G12)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from certbot_pinkeep.adapters import clock
from certbot_pinkeep.carriers import apache, running
from certbot_pinkeep.carriers.apache import Server
from certbot_pinkeep.core import options
from certbot_pinkeep.workflow.run import Run
from simulated.machine import Site
from simulated.values import DAY, NOW


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A lineage, and an Apache that logs its reloads."""
    return Site(tmp_path)


class Programs:
    """Servers' programs that log what they are told, and processes to be found."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = root / "log"
        self.pid_file = root / "server.pid"

    def add(self, name: str, answers: dict[str, tuple[int, str]]) -> str:
        """A program.

        :param answers: by the last word that it is given: its exit code, and what it says
        """
        cases = "".join(
            f"*' {word}') echo '{said}'; exit {code};;\n" for word, (code, said) in answers.items()
        )
        path = self.root / name
        path.write_text(
            f'#!/bin/sh\necho "{name} $*" >>"{self.log}"\ncase " $*" in\n{cases}esac\nexit 0\n'
        )
        path.chmod(0o755)
        return str(path)

    @property
    def told(self) -> list[str]:
        """What the programs were told."""
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    """None yet."""
    return Programs(tmp_path)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits; its name is in ``/proc``."""
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as waiting:
        yield waiting


def name_of(pid: int, name: str, proc: Path) -> None:
    """A process of this name, as /proc shows it."""
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    (folder / "stat").write_text(f"{pid} ({name}) S 1 1 1\n")


# what the pid file has, the name and the state of that process -> whether Apache is stopped
PID_FILES: dict[str, tuple[str | None, str, str, bool]] = {
    "it runs": ("4711\n", "apache2", "S", False),
    "it runs, as httpd": ("4711", "httpd", "S", False),
    "no pid file": (None, "apache2", "S", True),
    "stale: no such process": ("4712\n", "apache2", "S", True),
    "stale: another program has the number": ("4711\n", "postgres", "S", True),
    "ended, and nobody has noticed": ("4711\n", "apache2", "Z", True),
    "empty": ("", "apache2", "S", True),
    "junk": ("not a number\n", "apache2", "S", True),
}


@pytest.mark.parametrize("case", PID_FILES)
def test_apache_runs_if_its_pid_file_names_it(
    programs: Programs, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """The control program tells where the file is."""
    content, name, state, stopped = PID_FILES[case]
    proc = programs.root / "proc"
    name_of(4711, name, proc)
    (proc / "4711" / "stat").write_text(f"4711 ({name}) {state} 1 1 1\n")
    monkeypatch.setattr(running, "_PROC", str(proc))
    if content is not None:
        programs.pid_file.write_text(content)
    said = f'ServerRoot: "/x"\nPidFile: "{programs.pid_file}"\n'
    ctl = programs.add("apache2ctl", {"DUMP_RUN_CFG": (0, said)})
    assert running.is_stopped((ctl, "graceful")) == stopped
    assert running.is_stopped((ctl, "-f", "x", "-k", "graceful")) == stopped
    assert programs.told[-1] == "apache2ctl -f x -t -D DUMP_RUN_CFG"


def test_fifo_in_place_of_a_pid_file(programs: Programs) -> None:
    """It keeps nobody waiting."""
    os.mkfifo(programs.pid_file)
    said = f'PidFile: "{programs.pid_file}"'
    ctl = programs.add("apache2ctl", {"DUMP_RUN_CFG": (0, said)})
    assert running.is_stopped((ctl, "graceful"))


def test_control_program_that_does_not_tell(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red Hat's takes no arguments: the places are known in which such systems have the file."""
    proc = programs.root / "proc"
    name_of(5, "httpd", proc)
    programs.pid_file.write_text("5\n")
    monkeypatch.setattr(running, "_PROC", str(proc))
    monkeypatch.setattr(running, "_PID_FILES", (str(programs.pid_file),))
    monkeypatch.setenv("PATH", str(programs.root))
    ctl = programs.add("apachectl", {"DUMP_RUN_CFG": (1, "no longer supported")})
    assert not running.is_stopped((ctl, "graceful"))
    programs.pid_file.unlink()
    assert running.is_stopped((ctl, "graceful"))


@pytest.mark.parametrize("configured", [True, False])
def test_nginx_runs_if_its_pid_file_names_it(
    programs: Programs, monkeypatch: pytest.MonkeyPatch, configured: bool
) -> None:
    """The one of its configuration, else the one that it was built with."""
    proc = programs.root / "proc"
    name_of(5, "nginx", proc)
    monkeypatch.setattr(running, "_PROC", str(proc))
    dump = f"events {{}}\npid {programs.pid_file};" if configured else "events {}"
    built = f"configure arguments: --pid-path={programs.pid_file} --x"
    nginx = programs.add("nginx", {"-T": (0, dump), "-V": (0, built)})
    assert running.is_stopped((nginx, "-s", "reload"))
    programs.pid_file.write_text("5\n")
    assert not running.is_stopped((nginx, "-s", "reload"))


def test_long_answer_is_read_from_its_beginning() -> None:
    """nginx tells all that it reads, with lists of blocked networks. The first file names all others."""
    script = "echo first; head -c 20000000 /dev/zero"
    status, said = running.ask(("/bin/sh", "-c", script))
    assert (status, said[:5], len(said)) == (0, "first", 20_000_006)


# the command, the exit codes of the question -> whether it is known to be stopped
SERVICES: list[tuple[str, str, int, bool]] = [
    ("systemctl reload apache2", "is-active --quiet apache2", 0, False),
    ("systemctl reload apache2", "is-active --quiet apache2", 3, True),
    ("systemctl reload httpd.service", "is-active --quiet httpd.service", 3, True),
    ("systemctl --quiet reload apache2", "is-active --quiet apache2", 3, True),
    ("systemctl reload typo", "is-active --quiet typo", 4, False),
    ("systemctl reload-or-restart apache2", "is-active --quiet apache2", 3, False),
    ("systemctl restart apache2", "is-active --quiet apache2", 3, False),
    ("service apache2 reload", "apache2 status", 0, False),
    ("service apache2 reload", "apache2 status", 3, True),
    ("service apache2 restart", "apache2 status", 3, False),
    ("postfix reload", "status", 0, False),
    ("postfix -c /etc/two reload", "-c /etc/two status", 1, True),
    ("postfix flush", "status", 1, False),
    ("doveadm reload", "service status", 0, False),
    ("doveadm reload", "service status", 75, True),
    ("doveadm reload", "service status", 64, False),
]


@pytest.mark.parametrize(("command", "question", "code", "stopped"), SERVICES)
def test_well_known_commands_are_asked_about(
    programs: Programs, command: str, question: str, code: int, stopped: bool
) -> None:
    """Others are the admin's own words, and are run as they are."""
    program, *words = command.split()
    path = programs.add(program, {question.split()[-1]: (code, "")})
    assert running.is_stopped((path, *words)) == stopped
    assert programs.told in ([], [f"{program} {question}"])


def test_only_units_of_which_none_runs_are_stopped(programs: Programs) -> None:
    """One that runs is to be reloaded."""
    path = programs.add("systemctl", {"nginx": (3, ""), "apache2": (0, "")})
    assert not running.is_stopped((path, "reload", "nginx", "apache2"))


def test_unit_that_is_active_is_reloaded_by_systemd(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else, and without systemd, it is the program's own command."""
    default = ("apachectl", "graceful")
    systemctl = programs.add("systemctl", {"apache2": (3, ""), "httpd": (0, ""), "nginx": (3, "")})
    monkeypatch.setattr(running, "_SYSTEMD", str(programs.root / "none"))
    assert running.by_systemd("apache", systemctl, default) == default
    monkeypatch.setattr(running, "_SYSTEMD", str(programs.root))
    assert running.by_systemd("apache", systemctl, default) == (systemctl, "reload", "httpd")
    assert running.by_systemd("nginx", systemctl, ("nginx",)) == ("nginx",)
    assert running.by_systemd("apache", None, default) == default


def test_stopped_server_is_not_reloaded(programs: Programs) -> None:
    """Nothing is started, and nothing fails."""
    ctl = programs.add("apache2ctl", {"DUMP_RUN_CFG": (0, f'PidFile: "{programs.pid_file}"')})
    assert not apache.reload(Server("", (), ((ctl, "graceful"),), default=True))
    assert "apache2ctl graceful" not in programs.told


def test_g12_what_is_published_waits_for_the_server_to_start(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays pending, however often certbot runs; once the server runs it is reloaded once."""
    monkeypatch.setattr(running, "is_stopped", lambda words: True)
    for day in range(3):
        report = site.keep(now=NOW + day * DAY)
        assert (report.stopped, report.reloaded, report.pending) == (True, False, True)
        assert not report.settled
    assert site.apache.reloads == 0
    monkeypatch.setattr(running, "is_stopped", lambda words: False)
    report = site.keep(now=NOW + 3 * DAY)
    assert (report.stopped, report.reloaded, report.pending) == (False, True, False)
    assert report.settled and site.apache.reloads == 1


def test_g2_earlier_pins_may_still_be_served_by_a_stopped_server(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be started by somebody at any time, and with files that are put back."""
    site.keep()
    monkeypatch.setattr(running, "is_stopped", lambda words: True)
    site.keep(site.options(max_age=60), NOW + DAY)
    first, second = site.state().ledger.entries
    assert first.replaced is None and second.confirmed is None


def test_g12_certificate_that_a_stopped_server_has_not_loaded(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is looked at again in the next run, and loads it if it runs then."""
    site.keep()
    site.issue(site.key)
    monkeypatch.setattr(running, "is_stopped", lambda words: True)
    assert not site.keep().settled and site.apache.reloads == 1
    monkeypatch.setattr(running, "is_stopped", lambda words: False)
    assert site.keep().settled and site.apache.reloads == 2


def test_g12_stopped_server_is_not_started_if_something_else_is_wrong(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule is the same."""
    monkeypatch.setattr(clock, "now", lambda: NOW)
    monkeypatch.setattr(running, "is_stopped", lambda words: True)
    one = Run(str(site.config), str(site.work))
    values = {"reload-command": site.apache.reload[0], "max-age": "junk"}
    one.loader.note(site.name, site.name, values, issued=True)
    assert one.waiting and one.finish() == []
    assert site.apache.reloads == 0 and options.command(values, "reload-command")
