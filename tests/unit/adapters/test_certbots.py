"""Which certbots a machine runs by itself, and whether they load the plugin."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from certbot_pinkeep.adapters import certbots

#: The scripts that a certbot may be, and whether its Python can be asked for the plugin.
SCRIPTS = {
    "#!{python}\n": True,
    "#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\nimport sys\n": True,
    '#!/bin/sh\nexec {python} -m certbot "$@"\n': True,
    '#!/bin/sh\nexec {folder}/real "$@"\n': True,
    '#!/bin/sh\nexec {folder}/certbot "$@"\n': False,
    "#!/bin/sh\nset -e\n": False,
    "#!/bin/sh\nexec $HOME/certbot\n": False,
    "\x7fELF": False,
}
WANTS = "etc/systemd/system/timers.target.wants/certbot.timer"
SERVICE = "[Service]\nExecStart=/usr/bin/certbot -q renew\n"
TIMER = {WANTS: "", "usr/lib/systemd/system/certbot.service": SERVICE}
OTHER = "[Service]\nExecStart=\nExecStart=/opt/certbot renew\n"
CRON = "0 1 * * * root test ! -d /run/systemd/system && certbot renew\n"
RENEW = "#!/bin/sh\nset -e\nletsencrypt renew\n"
DEBIAN = {"etc/debian_version": "12.4\n"}
SYSTEMD = {"run/systemd/system/x": ""}
PROGRAMS = ("usr/bin/certbot", "usr/bin/letsencrypt", "usr/local/bin/certbot", "opt/certbot")

#: The files of a machine (``->``: a link), and the certbots that it runs by itself.
MACHINES: dict[str, tuple[dict[str, str], str]] = {
    "a timer": (TIMER, "usr/bin/certbot"),
    "a timer that nothing enables": ({**TIMER, WANTS: "!"}, ""),
    "a masked timer": ({**TIMER, "etc/systemd/system/certbot.timer": "->/dev/null"}, ""),
    "a masked service": ({**TIMER, "run/systemd/system/certbot.service": "->/dev/null"}, ""),
    "an own service": ({**TIMER, "etc/systemd/system/certbot.service": OTHER}, "opt/certbot"),
    "a drop-in": ({**TIMER, "run/systemd/system/certbot.service.d/a.conf": OTHER}, "opt/certbot"),
    "a drop-in that adds": (
        {**TIMER, "etc/systemd/system/certbot.service.d/a.conf": OTHER.replace("=\n", "=/bin/a\n")},
        "usr/bin/certbot opt/certbot",
    ),
    "drop-ins, the last one counts": (
        {
            **TIMER,
            "etc/systemd/system/certbot.service.d/a.conf": OTHER,
            "lib/systemd/system/certbot.service.d/b.conf": f"{SERVICE}ExecStart=\n",
        },
        "",
    ),
    "a masked drop-in": (
        {
            **TIMER,
            "lib/systemd/system/certbot.service.d/a.conf": OTHER,
            "etc/systemd/system/certbot.service.d/a.conf": "->/dev/null",
        },
        "usr/bin/certbot",
    ),
    "a timer of another service": (
        {
            **TIMER,
            "etc/systemd/system/certbot.timer": "[Timer]\nUnit=le.service\n",
            "etc/systemd/system/le.service": OTHER,
        },
        "opt/certbot",
    ),
    "a timer of a template": (
        {
            "etc/systemd/system/timers.target.wants/le@a.timer": "",
            "etc/systemd/system/le@.service": OTHER,
        },
        "opt/certbot",
    ),
    "a service that runs a script": (
        {
            **TIMER,
            "etc/systemd/system/certbot.service": "[Service]\nExecStart=/root/renew.sh\n",
            "root/renew.sh": RENEW,
        },
        "usr/bin/letsencrypt",
    ),
    "Debian's job": ({"etc/cron.d/certbot": CRON}, "usr/local/bin/certbot"),
    "Debian's job with its path": (
        {"etc/cron.d/certbot": f"PATH=/usr/bin\n{CRON}"},
        "usr/bin/certbot",
    ),
    "Debian's job beside systemd": ({"etc/cron.d/certbot": CRON, **SYSTEMD}, ""),
    "a copy of Debian's job": ({"etc/cron.d/certbot.dpkg-old": CRON, **DEBIAN}, ""),
    "a table of root": (
        {"var/spool/cron/crontabs/root": "@daily certbot renew\n"},
        "usr/bin/certbot",
    ),
    "a table of a user": (
        {"var/spool/cron/crontabs/anna": "@daily sudo /opt/certbot renew\n"},
        "opt/certbot",
    ),
    "two lines of a table": (
        {"etc/crontab": "@daily root /opt/certbot renew\n@daily root letsencrypt renew\n"},
        "opt/certbot usr/bin/letsencrypt",
    ),
    "a script that a table names": (
        {"etc/crontab": "@daily root /root/renew.sh\n", "root/renew.sh": RENEW},
        "usr/bin/letsencrypt",
    ),
    "a script with a program in it": (
        {"etc/crontab": "@daily root /root/a.run\n", "root/a.run": f"{RENEW}{'#' * (1 << 20)}"},
        "",
    ),
    "anacron": (
        {"etc/anacrontab": "7 9 le /opt/certbot renew\n", "usr/sbin/anacron": ""},
        "opt/certbot",
    ),
    "anacron is gone": ({"etc/anacrontab": "7 9 le /opt/certbot renew\n"}, ""),
    "a folder of cron": ({"etc/cron.weekly/le": RENEW}, "usr/bin/letsencrypt"),
    "a name that run-parts passes over": ({"etc/cron.weekly/le.sh": RENEW, **DEBIAN}, ""),
    "another folder of certbot": ({"etc/crontab": "@daily a certbot renew --config-dir /le\n"}, ""),
    "a certbot that is gone": ({"etc/crontab": "@daily root /gone/certbot renew\n"}, ""),
}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine in a folder."""
    monkeypatch.setattr(certbots, "ROOT", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_of_the_shell_that_becomes_a_certbot_loads_what_that_loads(
    tmp_path: Path, script: str
) -> None:
    """Pip writes such a script if the path of its environment is long; admins write their own."""
    (tmp_path / "real").write_text(f"#!{sys.executable}\n")
    path = tmp_path / "certbot"
    path.write_text(script.format(python=sys.executable, folder=tmp_path))
    assert certbots.loads_plugin(str(path)) is SCRIPTS[script]


def test_certbot_is_asked_without_the_environment_of_the_admin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither cron nor a timer has the admin's PYTHONPATH, so a plugin there is not loaded."""
    python = tmp_path / "python3"
    python.write_text('#!/bin/sh\n[ -n "$PYTHONPATH" ] && [ "$HOME$VIRTUAL_ENV$PYTHONHOME" ]\n')
    python.chmod(0o755)
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        monkeypatch.setenv(name, str(tmp_path))
    assert not certbots.loads_plugin(str(python))
    python.write_text('#!/bin/sh\n[ -z "$PYTHONPATH$HOME$VIRTUAL_ENV$PYTHONHOME" ]\n')
    assert certbots.loads_plugin(str(python))


@pytest.mark.parametrize(
    ("others", "script"),
    [
        ("home", "#!{home}/bin/python3\n"),
        ("home/certbot", "#!{home}/bin/python3\n"),
        ("home/bin/python3", "#!{home}/bin/python3\n"),
        ("home/certbot", "#!{python} {home}/own\n"),
    ],
)
def test_nothing_is_started_that_other_users_can_change(
    tmp_path: Path, others: str, script: str
) -> None:
    """A user's table of cron may name any program. Root starts none of that user's; the files tell."""
    home, done = tmp_path / "home", tmp_path / "done"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "python3").write_text(f"#!/bin/sh\ntouch {done}\n")
    (home / "bin" / "python3").chmod(0o755)
    (home / "own").write_text(f"open({str(done)!r}, 'w')\n")
    certbot = home / "certbot"
    certbot.write_text(script.format(home=home, python=sys.executable))
    (tmp_path / others).chmod(0o777)
    own = "own" not in script
    assert not (certbots.loads_plugin(str(certbot)) and own)
    (home / "lib" / "python3.11" / "site-packages" / "certbot_pinkeep-1.0.dist-info").mkdir(
        parents=True
    )
    assert certbots.loads_plugin(str(certbot)) or not own
    assert not done.exists()


@pytest.mark.parametrize("machine", MACHINES)
def test_certbots_of_a_machine_are_those_that_timers_and_cron_run(
    root: Path, monkeypatch: pytest.MonkeyPatch, machine: str
) -> None:
    """The table above; what a person types is told apart."""
    monkeypatch.setattr(certbots, "loads_plugin", lambda program: False)
    files, expected = MACHINES[machine]
    for name, text in {**dict.fromkeys(PROGRAMS, ""), **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("->"):
            path.symlink_to(text[2:])
        elif text != "!":
            path.write_text(text)
            path.chmod(0o755)
    found = certbots.callers("/etc/letsencrypt")
    by_itself = [one.program for one in found if one.where != one.program]
    assert [os.path.relpath(one, root) for one in by_itself] == expected.split()
    assert found[-1].program == str(root / "usr/local/bin/certbot")
