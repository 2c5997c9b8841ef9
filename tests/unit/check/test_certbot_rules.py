"""A timer or a job of cron whose certbot does not load the plugin, on a machine in a folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from certbot.compat import misc

from certbot_pinkeep.adapters import certbots
from certbot_pinkeep.check.findings import Finding, Severity
from certbot_pinkeep.check.local_files import LocalFiles
from certbot_pinkeep.storage import trust
from certbot_pinkeep.storage.store import Store
from certbot_pinkeep.storage.trust import Exposed
from simulated.values import NO_WORK_DIR

#: What runs a certbot: a timer, a job of cron, and nothing but the admin.
TIMER = {
    "etc/systemd/system/timers.target.wants/certbot.timer": "",
    "usr/lib/systemd/system/certbot.service": "[Service]\nExecStart=/usr/bin/certbot -q renew\n",
}
CRON = {"etc/cron.d/certbot": "0 */12 * * * root perl -e 'sleep' && certbot -q renew\n"}
OWN_CRON = {"etc/cron.d/own": "5 5 * * * root /opt/good/certbot -q renew\n"}
HAND = {"usr/bin/certbot": "#!/usr/bin/python3\n"}
SNAP = {
    "etc/systemd/system/timers.target.wants/snap.certbot.renew.timer": "",
    "etc/systemd/system/snap.certbot.renew.service": (
        '[Service]\nExecStart=/usr/bin/snap run --timer="00:00~24:00/2" certbot.renew\n'
    ),
    "usr/bin/snap": "\x7fELF",
}
WEEKLY = {"etc/cron.weekly/le": "#!/bin/sh\ncertbot renew -q\n"}
GOOD = {"opt/good/certbot": "#!/opt/good/python\n"}
RENEWS = "renews with the same key, but brings no pins up to date."
INSTALL = "Run: apt install ./python3-certbot-pinkeep_*_all.deb"
LINES = "pinkeep-max-age = 60\ninstaller = pinkeep\nauthenticator = apache\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine in a folder, on which only the certbot in ``/opt/good`` loads the plugin."""
    monkeypatch.setattr(certbots, "ROOT", str(tmp_path))
    monkeypatch.setattr(certbots, "loads_plugin", lambda program: "good" in program)
    monkeypatch.setattr(misc, "get_default_folder", lambda _: str(tmp_path / "le"))
    (tmp_path / "le").mkdir()
    return tmp_path


def found(root: Path, *files: dict[str, str], config_dir: str = "le") -> list[Finding]:
    """What is wrong with a machine that has these files."""
    for name, text in {k: v for one in files for k, v in one.items()}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    folder = str(root / config_dir)
    return LocalFiles(folder, Store(folder, NO_WORK_DIR)).certbots()


FAULTS: dict[str, tuple[tuple[dict[str, str], ...], str, str, str]] = {
    "a timer": ((TIMER, HAND), "certbot.timer", RENEWS, INSTALL),
    "a job of cron": ((CRON, HAND), "etc/cron.d/certbot", RENEWS, INSTALL),
    "a job of every week": ((WEEKLY, HAND), "etc/cron.weekly/le", RENEWS, INSTALL),
    "a job that makes new keys": (
        ({"etc/crontab": "@daily root certbot certonly --force-renewal -d a.test\n"}, HAND),
        "etc/crontab",
        "makes new keys. Clients that hold pins of a host refuse a new key there.",
        INSTALL,
    ),
    "a timer beside a job that loads it": (
        (TIMER, HAND, OWN_CRON, GOOD),
        "certbot.timer",
        RENEWS,
        "Run: systemctl disable --now certbot.timer",
    ),
}


@pytest.mark.parametrize("which", FAULTS)
def test_timer_or_job_whose_certbot_lacks_the_plugin_is_a_warning(
    root: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """One line with the program, and what mends it."""
    monkeypatch.setattr("certbot_pinkeep.check.certbot_rules._DEBIAN", f"{root}/usr/bin/certbot")
    files, where, what, todo = FAULTS[which]
    [one] = found(root, *files)
    assert one.severity is Severity.WARNING and one.where.endswith(where)
    assert one.what.startswith(f"It runs {root}/usr/bin/certbot, which does not load the plugin")
    assert one.what.endswith(what) and one.todo.endswith(todo)


@pytest.mark.parametrize(
    ("owner", "who"),
    [(0, "In the"), (65534, "As the user nobody, in the"), (4321, "As the user 4321,")],
)
def test_a_pip_of_another_user_is_for_that_user_to_run(
    root: Path, monkeypatch: pytest.MonkeyPatch, owner: int, who: str
) -> None:
    """A table of cron of that user names the certbot, and root runs no program of that user."""
    exposed = Exposed(f"{root}/home", 0o775, owner, ())
    monkeypatch.setattr(trust, "exposed", lambda path: exposed)
    table = f"5 5 * * * {root}/home/certbot renew\n"
    files = {"home/certbot": "", "var/spool/cron/crontabs/own": table}
    [one] = found(root, files)
    assert one.todo.startswith(who) and one.todo.endswith(f"run: {root}/home/pip install .")


@pytest.mark.parametrize(
    ("files", "todo"),
    [
        ((SNAP,), f"{INSTALL} && snap remove certbot"),
        ((SNAP, OWN_CRON, GOOD), "Run: snap stop --disable certbot.renew"),
    ],
    ids=["alone", "beside a job that loads it"],
)
def test_the_timer_of_snap_is_a_warning(
    root: Path, files: tuple[dict[str, str], ...], todo: str
) -> None:
    """Its service names no file of certbot, and snap takes no plugin with pip."""
    (root / "snap/bin").mkdir(parents=True)
    (root / "snap/bin/certbot").symlink_to(root / "usr/bin/snap")
    [one] = found(root, *files)
    assert (one.severity, one.where) == (Severity.WARNING, "snap.certbot.renew.timer")
    assert one.what.startswith(f"It runs {root}/snap/bin/certbot, which does not load the plugin")
    assert one.todo.endswith(todo)


def test_certbot_that_cli_ini_ends_is_critical_and_the_command_helps(root: Path) -> None:
    """It renews nothing; without the lines it renews again, and the options are the keyrings'."""
    path = root / "le/cli.ini"
    [one] = found(root, TIMER, HAND, {"le/cli.ini": LINES})
    assert one.severity is Severity.CRITICAL
    assert (
        f"renews no certificate at all, because {path} has the line 'pinkeep-max-age = 60'"
        in one.what
    )
    subprocess.run(["sh", "-ec", one.todo.removeprefix("Run: ")], check=True)
    left = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert left == ["installer = pinkeep", "authenticator = apache"]
    [after] = found(root)
    assert after.severity is Severity.WARNING


SOUND: dict[str, tuple[tuple[dict[str, str], ...], str]] = {
    "nothing renews by itself": ((HAND,), "le"),
    "cron runs one that loads it": ((OWN_CRON, GOOD, {"le/cli.ini": LINES}), "le"),
    "certbot's usual folder is another one": ((TIMER, HAND), "elsewhere"),
    "a comment": (({"etc/cron.d/x": "# 5 5 * * * root certbot renew\n"}, HAND), "le"),
}


@pytest.mark.parametrize("which", SOUND)
def test_nothing_is_told_of_certbots_that_are_as_they_should_be(root: Path, which: str) -> None:
    """A sound machine is silent."""
    files, config_dir = SOUND[which]
    assert found(root, *files, config_dir=config_dir) == []
