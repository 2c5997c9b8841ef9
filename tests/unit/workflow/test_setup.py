"""``certbot-pinkeep setup``: a machine is prepared once, in one go, and as it was before after ``--undo``."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from certbot.compat import misc

from certbot_pinkeep.adapters import certbots
from certbot_pinkeep.carriers import apache, layout, nginx, reading, running
from certbot_pinkeep.cli import main
from certbot_pinkeep.core.keyring import Keyring, Member
from certbot_pinkeep.core.server_config import ServerConfig
from certbot_pinkeep.workflow import setup
from simulated.kill import Killed, Killer
from simulated.machine import Machine
from simulated.values import A, B, policy

Said = pytest.CaptureFixture[str]
#: Folders and files of servers, as systems lay them out; a name with ``->`` is a link.
LAYOUTS = {
    "apache2ctl": "etc/apache2/conf-available/ etc/apache2/conf-enabled/ etc/apache2/mods-enabled/ "
    "etc/apache2/mods-available/headers.load etc/apache2/apache2.conf",
    "apachectl": "etc/httpd/conf.d/welcome.conf",
    "nginx": "etc/nginx/conf.d/ etc/nginx/nginx.conf",
}
#: What setup makes there.
MADE = {
    "apache2ctl": {
        "etc/apache2/conf-available/pinkeep.conf",
        "etc/apache2/mods-enabled/headers.load",
        "etc/apache2/conf-enabled/pinkeep.conf",
    },
    "apachectl": {"etc/httpd/conf.d/pinkeep.conf"},
    "nginx": {"etc/nginx/conf.d/pinkeep.conf"},
}
HOOK = "etc/letsencrypt/renewal-hooks/deploy/certbot-pinkeep-setup"
HEADERS = "etc/apache2/mods-enabled/headers.load"


class Box:
    """A machine in a folder, whose servers are scripts that note how they were called."""

    def __init__(self, root: Path, capsys: Said) -> None:
        self.root = root
        self.capsys = capsys
        self.config = root / "etc/letsencrypt"
        (self.config / "renewal-hooks/deploy").mkdir(parents=True)
        (root / "sbin").mkdir()

    def install(self, *programs: str) -> None:
        """Install servers, which run."""
        for name in programs:
            for path in LAYOUTS[name].split():
                target = self.root / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.mkdir() if path.endswith("/") else target.write_text(f"# {path}\n")
            self.script(name, f'[ ! -e {self.root}/refuses-{name} ] || {{ echo "no $*"; exit 1; }}')

    def script(self, name: str, body: str) -> Path:
        """Write a program."""
        path = self.root / "sbin" / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.root}/sbin/.calls\n{body}\n')
        path.chmod(0o755)
        return path

    def strict(self, name: str, fails_if: str) -> None:
        """Have a server fail its test if a command of the shell succeeds, and note what it loads.

        The command may use ``$active``: whether the server reads a line of setup that includes snippets.
        """
        read = " ".join(str(self.root / path) for path in MADE[name] if "available" not in path)
        self.script(
            name,
            f"active=; grep -qsi ^include {read} && active=1\n"
            f'case "$*" in *graceful|*reload) echo "$active" >{self.root}/loaded;;\n'
            f'*) if {fails_if}; then echo "unknown $*"; exit 1; fi;; esac',
        )

    def calls(self) -> list[str]:
        """How the servers were called, but for questions about what is loaded."""
        log = self.root / "sbin/.calls"
        calls = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [one for one in calls if not one.endswith(" -M")]

    def tree(self) -> dict[str, tuple[str, int] | str]:
        """Every file with its content and mode, and every link with its target."""
        found: dict[str, tuple[str, int] | str] = {}
        for path in sorted((self.root / "etc").rglob("*")):
            name = str(path.relative_to(self.root))
            if path.is_symlink():
                found[name] = os.readlink(path)
            elif path.is_file():
                found[name] = (path.read_text(), path.stat().st_mode)
        return found

    def setup(self, *words: str) -> tuple[int, list[str], str]:
        """The exit code of ``setup``, and what is said."""
        self.capsys.readouterr()
        folders = ["--config-dir", str(self.config), "--work-dir", str(self.root / "work")]
        code = main.main(["setup", *words, *folders, "--logs-dir", str(self.root / "logs")])
        out, err = self.capsys.readouterr()
        return code, out.splitlines(), err


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said) -> Box:
    """A machine without a server."""
    monkeypatch.setattr(misc, "get_default_folder", lambda kind: str(tmp_path / "etc/letsencrypt"))
    for module in (layout, certbots):
        monkeypatch.setattr(module, "ROOT", str(tmp_path))
    monkeypatch.setattr(apache, "_SYSTEM_PATH", (str(tmp_path / "sbin"), "/usr/bin", "/bin"))
    monkeypatch.setenv("PATH", f"{tmp_path}/sbin:/usr/bin:/bin")
    monkeypatch.setattr(running, "is_stopped", lambda words: False)
    monkeypatch.setattr("sys.argv", [str(tmp_path / "sbin/certbot-pinkeep")])
    found = Box(tmp_path, capsys)
    found.script("certbot-pinkeep", "")
    return found


@pytest.mark.parametrize(
    "servers", [("apache2ctl",), ("apachectl",), ("nginx",), ("apache2ctl", "nginx"), ()]
)
def test_setup_makes_what_each_server_needs_and_undo_takes_exactly_that_back(
    box: Box, servers: tuple[str, ...]
) -> None:
    """A dry run says the same and does nothing; a second run makes nothing more."""
    box.install(*servers)
    before = box.tree()
    code, dry, _ = box.setup("--dry-run")
    assert (code, box.tree(), box.calls()) == (0, before, [])

    code, said, err = box.setup()
    after = box.tree()
    assert (code, err, dry[1:]) == (0, "", said)
    assert set(after) - set(before) == {HOOK, *(path for name in servers for path in MADE[name])}
    assert {path: after[path] for path in before} == before
    for path in set(after) - set(before):
        assert any(str(box.root / path) in line for line in said), f"setup did not tell of {path}"
        assert (box.root / path).exists(), f"{path} leads nowhere"
    reloads = [one for one in box.calls() if "graceful" in one or "reload" in one]
    assert len(reloads) == len(servers)

    assert box.setup()[0] == 0 and box.tree() == after
    code, dry, _ = box.setup("--undo", "--dry-run")
    assert box.tree() == after
    code, said, err = box.setup("--undo")
    assert (code, err, dry[1:], box.tree()) == (0, "", said, before)
    assert box.setup("--undo")[1] == ["There is nothing to take back."]


def test_files_beside_the_keyrings_do_not_stop_setup(box: Box) -> None:
    """An admin's copy has a name that no keyring can have; a damaged keyring is for check to tell."""
    (box.config / "pinkeep").mkdir(mode=0o700)
    for name in ("a.test (copy)", "b.test"):
        (box.config / f"pinkeep/{name}.conf").write_text("damaged")
    for words in ([], ["--undo"]):
        code, _, err = box.setup(*words)
        assert (code, err) == (0, "")


def test_g9_snippet_of_version_01_is_not_sent_at_every_host(box: Box) -> None:
    """No server includes all snippets until pinkeep has written this one anew; the other server does."""
    box.install("apache2ctl", "nginx")
    snippet = box.config / "pinkeep/apache/a.test.conf"
    snippet.parent.mkdir(parents=True)
    member = Member("a.test", ("a.test",), A)
    keyed = apache.render(Keyring("a.test", (member,), ()), policy(A, B))
    snippet.write_text(re.sub(" && .*", '"', keyed))
    code, _, err = box.setup()
    assert code == 1 and str(snippet) in err and err.endswith("\nRun: certbot renew\n")
    made = set(box.tree())
    assert not made & MADE["apache2ctl"] and made > MADE["nginx"]
    snippet.write_text(keyed)
    assert box.setup()[0] == 0 and set(box.tree()) > MADE["apache2ctl"]


def enable_headers(box: Box) -> None:
    """As ``a2enmod`` does."""
    (box.root / HEADERS).symlink_to("../mods-available/headers.load")


def own_headers(box: Box) -> None:
    """The admin has a file there."""
    (box.root / HEADERS).unlink()
    (box.root / HEADERS).write_text("LoadModule headers_module /opt/mod_headers.so\n")


def nothing(box: Box) -> None:
    """The admin does nothing."""


@pytest.mark.parametrize(
    ("before", "between", "stays"),
    [
        (enable_headers, nothing, True),
        (nothing, nothing, False),
        (nothing, own_headers, True),
    ],
)
def test_g9_module_headers_is_disabled_only_if_setup_enabled_it(
    box: Box, before: Callable[[Box], None], between: Callable[[Box], None], stays: bool
) -> None:
    """The file that includes the snippets knows that, also after a second run."""
    box.install("apache2ctl")
    before(box)
    box.setup()
    between(box)
    assert box.setup()[0] == 0
    box.setup("--undo")
    assert os.path.lexists(box.root / HEADERS) is stays


#: What an admin or certbot wrote after setup, and whether the module headers is needed for it.
NEEDS = {
    "sites-enabled/s.conf <IfModule mod_headers.c>\n  Header always set X 1\n</IfModule>": True,
    "conf-enabled/s.conf requestheader unset Proxy early": True,
    "apache2.conf Header set X 1": True,
    "sites-enabled/s.conf <Directory /srv>\n  AllowOverride FileInfo Indexes\n</Directory>": True,
    "sites-enabled/s.conf <Directory /srv>\n  AllowOverride All\n</Directory>": True,
    "sites-enabled/s.conf AllowOverrideList Redirect Header": True,
    "sites-enabled/s.conf AllowOverride None": False,
    "sites-enabled/s.conf AllowOverride AuthConfig\n# AllowOverride All\nHeaderName HEADER": False,
    "elsewhere/s.conf Header set X 1": True,
    "sites-available/s.conf Header set X 1": False,
}


@pytest.mark.parametrize("there", NEEDS)
def test_g9_module_headers_stays_if_anything_else_may_need_it(
    box: Box, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    """No test of Apache reads the files .htaccess, nor what is inside <IfModule>."""
    box.install("apache2ctl")
    box.setup()
    name, _, text = there.partition(" ")
    path = box.root / "etc/apache2" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{text}\n")
    config = ServerConfig((str(path),) if "elsewhere" in there else ())
    monkeypatch.setattr(reading, "read", lambda server: config)
    for words in (["--dry-run"], []):
        code, said, _ = box.setup("--undo", *words)
        told = [line for line in said if "stays enabled" in line]
        assert code == 0 and bool(told) is NEEDS[there]
        assert all(str(path) in line for line in told)
    assert os.path.lexists(box.root / HEADERS) is NEEDS[there]


def test_g6_undo_leaves_the_module_that_apache_needs_and_takes_the_rest_back(box: Box) -> None:
    """Apache's own test tells what no file that setup knows does."""
    box.install("apache2ctl")
    before = box.tree()
    box.setup()
    box.strict("apache2ctl", f"! [ -e {box.root / HEADERS} ]")
    code, said, _ = box.setup("--undo")
    assert code == 0 and "stays enabled, because Apache needs it" in said[-2]
    assert set(box.tree()) - set(before) == {HEADERS}
    assert (box.root / "loaded").read_text() == "\n"


@pytest.mark.parametrize("server", MADE)
def test_undo_whose_reload_failed_is_completed_by_the_next_one(box: Box, server: str) -> None:
    """The server still has what setup made, so there is something to take back."""
    box.install(server)
    before = box.tree()
    box.setup()
    box.script(server, "case $* in *graceful|*reload) exit 1;; esac")
    assert box.setup("--undo")[0] == 1
    box.strict(server, "false")
    assert box.setup("--undo")[0] == 0
    assert (box.root / "loaded").read_text() == "\n" and box.tree() == before


def killed(box: Box, steps: int, *words: str) -> bool:
    """Run setup, and kill it before a step that changes the disk; whether it came so far."""
    killer = Killer(steps)
    with killer.at_work(), suppress(Killed):
        box.setup(*words)
    return killer.dead


def swept(box: Box) -> dict[str, tuple[str, int] | str]:
    """Every file and link, but for what a kill left of a file that was never in place."""
    return {path: what for path, what in box.tree().items() if "/.pinkeep-" not in path}


# the server; whether it takes what setup makes; what is killed; what the admin runs next
KILLS = [
    (server, takes, first, then)
    for server in ("apache2ctl", "nginx")
    for takes, first, then in (
        (True, (), ()),
        (True, ("--undo",), ("--undo",)),
        (False, (), ()),
        (False, (), ("--undo",)),
    )
]


@pytest.mark.parametrize(("server", "takes", "first", "then"), KILLS)
def test_g5_kill_at_any_step_is_made_good_by_the_next_run(
    box: Box,
    server: str,
    takes: bool,
    first: tuple[str, ...],
    then: tuple[str, ...],
) -> None:
    """Either all is there and loaded, or nothing is; what a server does not take is there never."""
    box.install(server)
    before = box.tree()
    box.setup()
    after = box.tree()
    box.setup("--undo")
    for steps in range(99):
        if first:
            box.setup()
        box.strict(server, "false" if takes else "[ $active ]")
        (box.root / "loaded").write_text("1\n" if first else "\n")
        done = not killed(box, steps, *first)
        code, _, _ = box.setup(*then)
        assert code == int(not takes and not then), steps
        if takes or then:
            assert swept(box) == (before if then else after), steps
        assert subprocess.run([box.root / "sbin" / server, "-t"], check=False).returncode == 0, (
            steps
        )
        loaded = (box.root / "loaded").read_text()
        assert loaded == ("1\n" if takes and not then else "\n"), steps
        box.strict(server, "false")
        box.setup("--undo")
        if done:
            return


@pytest.mark.parametrize("undo", [False, True])
@pytest.mark.parametrize("server", ["apache2ctl", "apachectl", "nginx"])
def test_g6_failed_test_leaves_everything_as_it_was(box: Box, server: str, undo: bool) -> None:
    """The error has what the server says; nothing is reloaded. The hook is linked all the same."""
    box.install(server)
    if undo:
        box.setup()
    before = box.tree()
    box.strict(server, f"[ {'!' if undo else ''} $active ]")
    box.calls()
    code, _, err = box.setup(*(["--undo"] if undo else []))
    assert code == 1 and "unknown" in err and "as they were before" in err
    assert ("Run: grep -rn" in err) is (undo and server == "nginx")
    after = box.tree()
    assert (HOOK in after) is not undo
    assert {**after, HOOK: ""} == {**before, HOOK: ""}
    assert not any("graceful" in one or "reload" in one for one in box.calls())


def test_g6_configuration_that_fails_without_setup_is_told_so(box: Box) -> None:
    """It is not what setup made that fails; the other server is prepared all the same."""
    box.install("apache2ctl", "nginx")
    (box.root / "refuses-apache2ctl").touch()
    code, _, err = box.setup()
    assert code == 1 and "also without this change" in err and "Run: " in err
    assert MADE["nginx"] < set(box.tree()) and not MADE["apache2ctl"] & set(box.tree())


def test_snippet_that_is_included_within_a_server_block_is_told(box: Box) -> None:
    """nginx itself names a line of the snippet, which is right."""
    box.install("nginx")
    snippet = box.config / "pinkeep/nginx/a.test.conf"
    snippet.parent.mkdir(parents=True)
    snippet.write_text(
        nginx.render(Keyring("a.test", (Member("a.test", ("a.test",), A),), ()), None)
    )
    told = f'[emerg] 1#1: "map" directive is not allowed here in {snippet}:12'
    box.script("nginx", f"[ \"$1\" != -t ] || {{ echo '{told}'; exit 1; }}")
    code, _, err = box.setup()
    assert code == 1 and f"nginx reads {snippet} within a server block" in err
    assert err.endswith(f"\nRun: grep -rn {snippet.parent} /etc/nginx\n")


def test_each_server_that_cannot_be_prepared_is_told(
    box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    """The admin mends both before the next run."""
    box.install("apache2ctl", "nginx")
    for name in ("apache2ctl", "nginx"):
        (box.root / f"refuses-{name}").touch()
    code, _, err = box.setup()
    assert code == 1 and "Apache's configuration fails" in err
    assert "nginx's configuration fails" in caplog.text


@pytest.mark.parametrize("server", MADE)
def test_g9_foreign_file_in_the_way_stays(box: Box, server: str) -> None:
    """The error names it; undo does not touch it either."""
    box.install(server)
    path = box.root / next(path for path in MADE[server] if "pinkeep" in path)
    path.write_text("# mine\n")
    before = box.tree()
    code, _, err = box.setup()
    assert code == 1 and str(path) in err
    box.setup("--undo")
    assert box.tree() == before


def test_g12_stopped_server_is_not_started(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """It loads what setup made when it starts."""
    monkeypatch.setattr(running, "is_stopped", lambda words: True)
    box.install("apache2ctl")
    code, said, _ = box.setup()
    assert code == 0 and any("does not run" in line for line in said)
    assert not any("graceful" in one for one in box.calls())


def test_setup_names_the_line_if_the_server_does_not_read_what_setup_made(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not name itself, as check does."""
    box.install("apache2ctl")
    site = Machine(box.root / "site")
    site.issue("a.test")
    site.keep("a.test", "a.test")
    box.config = site.config
    monkeypatch.setattr(
        reading, "read", lambda server: ServerConfig(("/etc/apache2/apache2.conf",))
    )
    code, said, _ = box.setup()
    (told,) = (line for line in said if "does not include" in line)
    assert code == 0 and f'IncludeOptional "{site.config}/pinkeep/apache/*.conf"' in told
    assert not any(line.startswith("Run: ") for line in said)


def test_machine_with_a_server_program_alone_has_no_server(box: Box) -> None:
    """Debian's apache2-bin comes with other packages; for apps and zones no server is needed."""
    box.script("apache2", "")
    code, said, _ = box.setup()
    assert code == 0 and said[0].startswith("There is no Apache and no nginx")


def test_g9_deploy_hook_that_the_admin_linked_is_enough_and_stays(box: Box) -> None:
    """The pages of earlier versions told to link it."""
    link = box.config / "renewal-hooks/deploy/certbot-pinkeep"
    link.symlink_to(box.root / "sbin/certbot-pinkeep")
    before = box.tree()
    box.setup()
    assert box.tree() == before
    box.setup("--undo")
    assert box.tree() == before


CRON = "0 1 * * * root test -x certbot -a \\! -d /run/systemd/system && perl -e 1 && certbot -q renew\n"
SERVICE = "[Service]\nExecStart={} -q renew --no-random-sleep-on-renew\n"


def certbot(box: Box, path: str, *, loads: bool) -> Path:
    """A certbot whose Python has the plugin, or lacks it."""
    python = box.root / f"python-{'with' if loads else 'without'}"
    python.write_text(f"#!/bin/sh\nexit {int(not loads)}\n")
    python.chmod(0o755)
    program = box.root / path
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!{python}\n")
    program.chmod(0o755)
    return program


def write(box: Box, path: str, text: str) -> None:
    """Write a file of the machine."""
    target = box.root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


# what is there, whether systemd runs, whether Debian's certbot loads the plugin -> who is named
CALLERS = [
    ("timer cron", True, False, "certbot.timer: It runs /usr/bin/certbot, "),
    ("timer cron", True, True, ""),
    ("cron", False, False, "/etc/cron.d/certbot: It runs /usr/bin/certbot, "),
    ("disabled cron", True, False, "/usr/bin/certbot: It does not load"),
    ("override", True, False, "/usr/bin/certbot: It does not load"),
    ("override", True, True, "certbot.timer: It runs /opt/certbot/bin/certbot, "),
]


@pytest.mark.parametrize(("there", "systemd", "loads", "named"), CALLERS)
def test_setup_names_what_runs_a_certbot_without_the_plugin(
    box: Box, there: str, systemd: bool, loads: bool, named: str
) -> None:
    """The timer that is enabled, the job of cron that counts, and what a person types."""
    certbot(box, "usr/bin/certbot", loads=loads)
    certbot(box, "opt/certbot/bin/certbot", loads=not loads)
    write(box, "lib/systemd/system/certbot.service", SERVICE.format("/usr/bin/certbot"))
    if "timer" in there or "override" in there:
        write(box, "etc/systemd/system/timers.target.wants/certbot.timer", "")
    if "override" in there:
        text = "[Service]\nExecStart=\nExecStart=/opt/certbot/bin/certbot renew\n"
        write(box, "etc/systemd/system/certbot.service.d/own.conf", text)
    if "cron" in there:
        write(box, "etc/cron.d/certbot", f"# certbot renew\n{CRON}")
    if systemd:
        (box.root / "run/systemd/system").mkdir(parents=True)
    code, said, _ = box.setup()
    told = [line.replace(str(box.root), "") for line in said if "not load the plugin" in line]
    assert code == 0 and len(told) == bool(named)
    assert all(line.startswith(named) for line in told)


def test_hook_follows_the_command_to_another_place(box: Box) -> None:
    """Setup from another environment has its own command run."""
    box.setup()
    link = box.root / HOOK
    link.unlink()
    link.symlink_to("/gone/certbot-pinkeep")
    box.setup()
    assert os.readlink(link) == str(box.root / "sbin/certbot-pinkeep")
    assert setup.HOOK in HOOK


def test_deploy_hook_of_the_admin_that_leads_nowhere_is_not_enough(box: Box) -> None:
    """Certbot passes over such a link, for example after the environment of the command is gone."""
    (box.config / "renewal-hooks/deploy/certbot-pinkeep").symlink_to("/gone/certbot-pinkeep")
    box.setup()
    assert os.readlink(box.root / HOOK) == str(box.root / "sbin/certbot-pinkeep")


def test_g9_file_in_the_place_of_the_deploy_hook_stays(box: Box) -> None:
    """Setup makes links there, so an admin wrote the file."""
    (box.root / HOOK).write_text("#!/bin/sh\n")
    before = box.tree()
    code, _, error = box.setup()
    assert code == 1 and HOOK in error
    assert box.tree() == before


def test_g6_setup_that_somebody_stops_leaves_everything_as_it_was(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's next start would load what no test has passed."""
    box.install("apache2ctl")

    def stopped(words: object) -> None:
        raise KeyboardInterrupt

    before = box.tree()
    monkeypatch.setattr(running, "ask", stopped)
    with pytest.raises(KeyboardInterrupt):
        setup.set_up(str(box.config), "/certbot-pinkeep", print, dry=False)
    assert box.tree() == before


def test_failed_reload_names_the_command_that_reloads(box: Box) -> None:
    """Certbot reloads no server for what setup has made or taken back."""
    box.install("apachectl")
    box.script("apachectl", '[ "$1" != graceful ]')
    for words in ((), ("--undo",)):
        code, _, error = box.setup(*words)
        assert code == 1 and error.rstrip().endswith(f"Run: {box.root}/sbin/apachectl graceful")
