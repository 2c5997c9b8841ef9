"""The snippet, and the commands that test and load it (G6)."""

from __future__ import annotations

import os
import re
import select
import shlex
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given

from certbot_pinkeep.carriers import apache, servers
from certbot_pinkeep.carriers.apache import Server
from certbot_pinkeep.core.errors import BadOption, PublishFailed
from certbot_pinkeep.core.keyring import Keyring, Member
from certbot_pinkeep.core.policy import Policy
from simulated.machine import FakeApache
from simulated.values import A, B, C, mode_of, policy, policy_strategy, ring_key

RING = Keyring(
    "ring",
    (Member("example.com", ("example.com",), A),),
    (ring_key(A, "primary"), ring_key(B)),
)


def headers(snippet: str) -> list[str]:
    """The lines between those that ask for mod_headers."""
    first, *lines, last = [
        line for line in snippet.splitlines() if line and not line.startswith("#")
    ]
    assert (first, last) == ("<IfModule mod_headers.c>", "</IfModule>")
    return lines


def test_snippet_is_what_the_contract_shows() -> None:
    """One Header line, always, with the condition that the connection is TLS."""
    assert headers(apache.render(RING, policy(A, B))) == [
        f'Header always set Public-Key-Pins "pin-sha256=\\"{A}\\"; pin-sha256=\\"{B}\\"; '
        "max-age=5184000\" \"expr=%{HTTPS} == 'on' && "
        r'(%{HTTP_HOST} =~ m#^(?:example\.com)\.?(?::[0-9]+)?$#i)"'
    ]


HOSTS: dict[tuple[str, ...], str] = {
    ("b.test", "a.test", "A.Test."): r"%{HTTP_HOST} =~ m#^(?:a\.test|b\.test)\.?(?::[0-9]+)?$#i",
    ("*.a.test",): r"%{HTTP_HOST} =~ m#^(?:[^.:]+\.a\.test)\.?(?::[0-9]+)?$#i",
    ("2001:db8::1",): r"%{HTTP_HOST} =~ m#^(?:\[2001:db8::1\])\.?(?::[0-9]+)?$#i",
    # What is no host is nothing that a client could ask for.
    ("", "a#b.test", 'x" y', "b\u00fccher.test"): "false",
    (): "false",
}


@pytest.mark.parametrize("hosts", HOSTS)
def test_condition_names_the_keyrings_hosts(hosts: tuple[str, ...]) -> None:
    """In an order of their own: what a request asks for decides, not which lineage came first."""
    members = [Member(str(number), (host,), A) for number, host in enumerate(hosts)]
    moved = Member("moved", ("moved.test",), A, transferred="other")
    text = apache.render(replace(RING, members=(*members, moved)), policy(A, B))
    assert apache.condition(text) == HOSTS[hosts]
    (line,) = headers(text)
    assert line.endswith(f"\"expr=%{{HTTPS}} == 'on' && ({HOSTS[hosts]})\"")


def test_many_hosts_become_several_patterns() -> None:
    """None is longer than the 8191 bytes that Apache reads, and each host is in one of them."""
    hosts = tuple(f"{'a' * 60}.{'b' * 60}.{'c' * 60}.{number:04}.test" for number in range(500))
    text = apache.render(replace(RING, members=(Member("x", hosts, A),)), policy(A, B))
    patterns = re.findall("m#([^#]+)#i", apache.condition(text))
    assert max(map(len, patterns)) < 8000
    for host in hosts:
        assert [bool(re.fullmatch(one, host)) for one in patterns].count(True) == 1
    assert apache.read_policy(text) == policy(A, B)


def test_snippet_of_version_01_has_the_same_header_at_no_hosts_of_its_own() -> None:
    """It goes out wherever an admin has included it."""
    text = apache.render(RING, policy(A, B))
    old = re.sub(" && .*", '"', text)
    assert old != text and apache.read_policy(old) == policy(A, B)
    assert (apache.directives(old), apache.condition(old)) == (apache.directives(text), "")
    assert not servers.APACHE.is_same(old, text) and servers.APACHE.is_same(text, text + "# x\n")


def test_snippet_explains_itself() -> None:
    """Comments name the keyring, each pin's type and role, and how to change it."""
    text = apache.render(RING, policy(A, B, C))
    assert "keyring ring," in text and "certbot-pinkeep pin --help" in text
    assert re.search(f"^# {re.escape(A)}  ECDSA secp256r1  primary, in service$", text, re.M)
    assert re.search(f"^# {re.escape(B)}  ECDSA secp256r1  backup$", text, re.M)


def test_percent_signs_and_quotes_are_escaped() -> None:
    """mod_headers reads %-formats, and Apache's parser reads quotes."""
    (line,) = headers(apache.render(RING, policy(A, B, report_uri="https://r.example/%41'")))
    assert "https://r.example/%%41'" in line
    value = line.removeprefix("Header always set Public-Key-Pins ").partition(' "expr=')[0]
    assert re.fullmatch(r'"(?:[^"\\]|\\["\\])*"', value)
    assert re.search(r"(?<!%)(%%)*%(?!%)", value) is None


@given(policy_strategy())
def test_snippet_is_read_back_as_its_policy(given_policy: Policy) -> None:
    """Exactly one header line, and what it publishes is the policy."""
    text = apache.render(RING, given_policy)
    (line,) = headers(text)
    assert line.startswith(f"Header always set {given_policy.header_name} ")
    assert apache.read_policy(text) == given_policy


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "Header set Public-Key-Pins x\n",
        f'# Header always set Public-Key-Pins "pin-sha256=\\"{A}\\"; max-age=5"\n',
        'Header always set Public-Key-Pins "max-age=5"\n',
        f'Header always set Public-Key-Pins "pin-sha256=\\"{A}\\"; max-age=5"\n',
        'Header always set Strict-Transport-Security "max-age=5"\n',
    ],
)
def test_snippet_without_a_policy_of_ours(text: str) -> None:
    """What is no policy is read as none."""
    assert apache.read_policy(text) is None


DIRECTIVE = 'Header always set Public-Key-Pins "max-age=5"'


@pytest.mark.parametrize(
    "text",
    [
        DIRECTIVE,
        f"<IfModule mod_headers.c>\n{DIRECTIVE}\n</IfModule>\n",
        f"  <ifmodule mod_headers.c>\n\t{DIRECTIVE}\n  </ifmodule>\n",
        f'<IfModule "mod_headers.c">\n    {DIRECTIVE}\n</IfModule>\n',
        f"<IfModule headers_module>\n# ours\n{DIRECTIVE}\n</IfModule>\n",
    ],
)
def test_spellings_of_one_snippet(text: str) -> None:
    """What version 0.1 wrote, and what an admin indented, publishes the same."""
    assert apache.directives(text) == [DIRECTIVE]


@pytest.mark.parametrize(
    "text",
    [
        f"<IfModule !mod_headers.c>\n{DIRECTIVE}\n</IfModule>\n",
        f"<IfModule mod_php.c>\n{DIRECTIVE}\n</IfModule>\n",
        f"<IfModule mod_headers.c>\n{DIRECTIVE}\n",
        f"<IfModule mod_headers.c>\n</IfModule>\n{DIRECTIVE}\n",
    ],
)
def test_snippet_that_says_something_else(text: str) -> None:
    """It may send nothing, so it is an edit."""
    assert apache.directives(text) != [DIRECTIVE]


@pytest.mark.parametrize("debian", [True, False])
def test_missing_mod_headers_is_named(
    site: Published, monkeypatch: pytest.MonkeyPatch, debian: bool
) -> None:
    """By the command that loads it on Debian, else by the line of the configuration."""
    said = "Invalid command 'Header', perhaps misspelled or defined by a module not included"
    server = site.tested_by(*site.apache.script("old", f'echo "{said}" >&2; exit 1'))
    found = {"a2enmod": "/usr/sbin/a2enmod"} if debian else {}
    monkeypatch.setattr(apache, "which", found.get)
    with pytest.raises(PublishFailed) as caught:
        site.publish("new\n", server=server)
    advice = "Run: a2enmod headers && certbot renew" if debian else "LoadModule headers_module"
    assert advice in str(caught.value)


def test_missing_snippet_is_none_and_a_folder_is_an_error(tmp_path: Path) -> None:
    """A snippet that is there but cannot be read is not taken for a missing one."""
    assert apache.read_snippet(str(tmp_path / "none.conf")) is None
    with pytest.raises(PublishFailed, match="cannot be read"):
        apache.read_snippet(str(tmp_path))


class Published:
    """A snippet's place, and an Apache."""

    def __init__(self, root: Path) -> None:
        self.apache = FakeApache(root)
        self.folder = root / "snippets"
        self.folder.mkdir()
        self.path = self.folder / "ring.conf"
        self.server = self.tested_by(*self.apache.configtest)

    def tested_by(self, *configtest: str) -> Server:
        """The server with another configtest command."""
        return Server(str(self.path), configtest, (self.apache.reload,))

    def publish(self, text: str, earlier: str | None = None, server: Server | None = None) -> None:
        """Publish a text."""
        apache.publish(server or self.server, {str(self.path): text}, earlier)


@pytest.fixture
def site(tmp_path: Path) -> Published:
    """A place without a snippet."""
    return Published(tmp_path)


def test_published_snippet_is_there_for_all_to_read(site: Published) -> None:
    """Mode 0644, nothing beside it, and Apache is not reloaded yet."""
    site.publish("new\n")
    assert (site.path.read_text(), mode_of(site.path)) == ("new\n", 0o644)
    assert os.listdir(site.folder) == ["ring.conf"] and site.apache.reloads == 0


def test_g6_configtest_sees_the_new_snippet(site: Published) -> None:
    """The test runs with the new text in place, not before."""
    copy = site.apache.root / "seen"
    server = site.tested_by(*site.apache.script("look", f'cp "{site.path}" "{copy}"'))
    site.publish("new\n", server=server)
    assert copy.read_text() == "new\n"


@pytest.mark.parametrize("before", ["old\n", "", "no end of line", "\u00fc, tabs\t and \\ \n\n\n"])
def test_g6_failed_test_puts_the_earlier_snippet_back(site: Published, before: str) -> None:
    """Byte for byte; the error says why; nothing is reloaded."""
    site.path.write_bytes(before.encode())
    site.apache.break_config()
    with pytest.raises(PublishFailed, match="Syntax error, line 1") as caught:
        site.publish("new\n")
    assert str(site.path) in str(caught.value)
    assert site.path.read_bytes() == before.encode() and site.apache.reloads == 0


def test_g6_failed_test_removes_a_first_snippet(site: Published) -> None:
    """If there was none before, there is none after."""
    site.apache.break_config()
    with pytest.raises(PublishFailed):
        site.publish("new\n")
    assert os.listdir(site.folder) == []


@pytest.mark.parametrize("earlier", ["earlier\n", None])
def test_g6_text_that_a_killed_run_left_untested_is_taken_back(
    site: Published, earlier: str | None
) -> None:
    """What is there already may never have been tested: then the earlier text comes back."""
    site.path.write_text("new\n")
    site.apache.break_config()
    with pytest.raises(PublishFailed):
        site.publish("new\n", earlier)
    assert (site.path.read_text() if site.path.exists() else None) == earlier


def test_g6_moved_snippet_is_moved_back(site: Published) -> None:
    """When the test fails after a move, the old place has its text again and the new one none."""
    old = site.folder / "old.conf"
    old.write_text("old\n")
    site.apache.break_config()
    with pytest.raises(PublishFailed):
        apache.publish(site.server, {str(site.path): "new\n", str(old): None}, None)
    assert old.read_text() == "old\n" and not site.path.exists()
    site.apache.mend_config()
    apache.publish(site.server, {str(site.path): "new\n", str(old): None}, None)
    assert site.path.read_text() == "new\n" and not old.exists()


def test_g6_command_that_does_not_exist(site: Published) -> None:
    """A program that is gone counts as a failed test."""
    site.path.write_text("old\n")
    with pytest.raises(PublishFailed, match="cannot be run"):
        site.publish("new\n", server=site.tested_by("/nowhere/apache2ctl", "configtest"))
    assert site.path.read_text() == "old\n"


def test_g6_write_that_fails_is_taken_back(site: Published) -> None:
    """One of two files cannot be written: the other is as it was."""
    old = site.folder / "old.conf"
    old.write_text("old\n")
    missing = site.folder / "gone" / "new.conf"
    with pytest.raises(PublishFailed, match="cannot be written"):
        apache.publish(site.server, {str(old): None, str(missing): "new\n"}, None)
    assert old.read_text() == "old\n" and os.listdir(site.folder) == ["old.conf"]


def test_g6_command_that_hangs_is_ended_with_its_children(
    site: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the time limit the command and what it started are gone, and the snippet is back."""
    never, started = site.apache.root / "never", site.apache.root / "started"
    os.mkfifo(never)
    os.mkfifo(started)
    hang = site.apache.script(
        "hang", f'(read line <"{never}") & echo $! >"{started}"; read line <"{never}"'
    )
    children: list[int] = []
    wait = subprocess.Popen.wait

    def time_is_up(process: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        if timeout is not None:
            children.append(os.pidfd_open(int(started.read_text())))  # blocks until it has begun
            timeout = 0
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", time_is_up)
    site.path.write_text("old\n")
    with pytest.raises(PublishFailed, match="did not end within"):
        site.publish("new\n", server=site.tested_by(*hang))
    assert site.path.read_text() == "old\n"
    (child,) = children
    gone, _, _ = select.select([child], [], [], 20)  # its death takes a moment to be seen
    if not gone:
        signal.pidfd_send_signal(child, signal.SIGKILL)
    os.close(child)
    assert gone


def test_reload_that_fails_says_why(site: Published) -> None:
    """Status and output are told; a reload that works says nothing."""
    apache.reload(site.server)
    assert site.apache.reloads == 1
    site.apache.stuck.touch()
    with pytest.raises(PublishFailed, match="status 3: not running"):
        apache.reload(site.server)


def test_g12_every_server_is_reloaded_whichever_fails(site: Published) -> None:
    """In their order; each that failed is named with what it said, and nothing is taken for loaded."""
    note = site.apache.root / "order"
    one, two, three = (
        (*site.apache.script(f"daemon-{n}", f'echo {n} >>"{note}"; echo said-{n}; exit {n}'),)
        for n in (1, 0, 3)
    )
    server = Server("", (), (one, two, three))
    with pytest.raises(PublishFailed, match="some serve what they loaded before") as caught:
        apache.reload(server)
    assert note.read_text().split() == ["1", "0", "3"]
    said = str(caught.value)
    assert "daemon-1' failed with status 1: said-1." in said and "status 3: said-3." in said
    assert "said-0" not in said
    assert apache.reload(Server("", (), (two, two)))


def test_command_is_run_without_a_shell(site: Published) -> None:
    """Words with $, ; and blanks reach the program as they are."""
    note = site.apache.root / "words"
    script = site.apache.script("words", f'printf "%s\\n" "$@" >"{note}"')
    words = ("a b", "$HOME", ";", "*")
    apache.reload(Server("", (), ((*script, *words),)))
    assert note.read_text().splitlines() == list(words)


def test_g10_command_that_does_not_exist_is_a_bad_option(site: Published) -> None:
    """The error names the option and the whole command as it was given."""
    option = "--pinkeep-configtest-command"
    assert apache.command(option, ()) == ()
    assert apache.command(option, ("sh", "-c", "x"))[1:] == ("-c", "x")
    with pytest.raises(BadOption) as caught:
        apache.command(option, ("no-such-program", "a b"))
    assert caught.value.option == option
    assert caught.value.value == shlex.join(["no-such-program", "a b"])


def test_g10_snippet_dir_that_cannot_be_used(site: Published, tmp_path: Path) -> None:
    """A folder that is missing, or is a file, is refused with the option's name."""
    apache.check_snippet_dir(str(site.folder))
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(BadOption) as caught:
            apache.check_snippet_dir(str(path))
        assert (caught.value.option, caught.value.value) == ("--pinkeep-snippet-dir", str(path))


def test_g3_however_much_a_command_says_its_end_is_told(site: Published) -> None:
    """It is not read into the memory as a whole."""
    failing = site.apache.script("chatty", "truncate -s 8T /dev/stdout; exit 3")
    with pytest.raises(PublishFailed, match="failed with status 3") as caught:
        apache.test(site.tested_by(*failing))
    told = str(caught.value)
    assert told.replace("\n", "").isprintable() and len(told) <= 2000
