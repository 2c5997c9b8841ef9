"""Write the header snippet for Apache, and run the commands that test and load a server.

The rules:

* The snippet has one ``Header always set``: one header on every response, also on errors. The header goes
  out over TLS only (RFC 7469 §2.2.2, §2.3.1).
* The header goes out if the request's ``Host`` is one of the keyring's hosts. So the file is right in a
  ``<VirtualHost>``, and in the server's own configuration, whatever a virtual host answers for.
  ``UseCanonicalName`` does not change the request's ``Host``. HTTP/2 fills ``Host`` from ``:authority``.
* Apache compares letters of any case, and ignores a port and one dot at the end. ``*.`` stands for one
  label, as in a certificate.
* Apache reads no pattern of 8192 bytes or more. So many hosts become several patterns in one line.
* The line is inside ``<IfModule mod_headers.c>``. So an Apache without mod_headers starts, and loads its
  certificates (G12). What a snippet publishes does not depend on these two lines.
* pinkeep writes a changed snippet beside the old one, moves it into place, and tests it. If the test
  fails, pinkeep puts the old one back, and reloads nothing (G6).
* A server loads its configuration only if the configuration passes its test (G6).
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from certbot_pinkeep.carriers import running
from certbot_pinkeep.core import hostnames, text
from certbot_pinkeep.core import policy as policies
from certbot_pinkeep.core.errors import ApacheFailed, BadOption, PublishFailed
from certbot_pinkeep.core.keyring import Keyring
from certbot_pinkeep.core.policy import ENFORCED, REPORT_ONLY, Policy
from certbot_pinkeep.storage import atomic

#: The servers' names in sentences, by their names in ``--pinkeep-header``.
TITLES = {"apache": "Apache", "nginx": "nginx", "": "the server"}
#: Seconds that a configtest or a reload may take.
TIME_LIMIT = 60
_SYSTEM_PATH = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin")
_SHOWN = 1000
_IF_MODULE = "<IfModule mod_headers.c>"
_END_IF = "</IfModule>"
# The lines around the header, in any spelling that Apache takes for the same module.
_WRAPPER = re.compile(
    r"<IfModule\s+\"?(?:mod_headers\.c|headers_module)\"?\s*>|</IfModule\s*>", re.I
)
#: What Apache says of a directive of mod_headers if mod_headers is not loaded.
_NO_HEADERS = re.compile(r"Invalid command '(?:Request)?Header'", re.I)
#: The longest pattern that pinkeep writes, in bytes.
_LONGEST_PATTERN = 4000
_OVER_TLS = "%{HTTPS} == 'on'"
_KEYED = re.compile(rf'"expr={re.escape(_OVER_TLS)} && \((?P<hosts>.*)\)"$')
# In any spelling of an admin: the ledger must not depend on the spelling.
_DIRECTIVE = re.compile(
    r'^\s*Header\s+(?:(?:always|onsuccess)\s+)?[a-z]+\s+"?'
    rf'(?P<name>{ENFORCED}|{REPORT_ONLY}):?"?\s+'
    r'(?:"(?P<value>(?:[^"\\]|\\.)*)"|(?P<bare>\S+))',
    re.M | re.I,
)


@dataclass(frozen=True)
class Server:
    """Hold how a keyring's snippet reaches its server.

    :ivar snippet: the snippet's file; empty: none
    :ivar configtest: the words of the command; empty: none
    :ivar reload: the words of each command; empty: the admin reloads the servers
    :ivar kind: the server's name in ``--pinkeep-header``; empty: none
    :ivar default: whether the reload command is the server's own; else the admin gave it
    """

    snippet: str
    configtest: tuple[str, ...]
    reload: tuple[tuple[str, ...], ...]
    kind: str = "apache"
    default: bool = False

    @property
    def title(self) -> str:
        """The server's name in sentences."""
        return TITLES[self.kind]


def command(option: str, given: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words of an admin's command, with the program's full path; empty: none.

    :param option: the option of the command
    :raises BadOption: if the program does not exist
    """
    if not given:
        return ()
    program = which(given[0])
    if program is None:
        raise BadOption(
            option, shlex.join(given), f"there is no program {given[0]!r} that can be run."
        )
    return (program, *given[1:])


def check_snippet_dir(folder: str) -> None:
    """Check that the admin's snippet folder can take a snippet.

    :raises BadOption: if it cannot
    """
    why = run = ""
    if not os.path.exists(folder):
        why, run = "there is no such folder.", f"mkdir -p {shlex.quote(folder)}"
    elif not os.path.isdir(folder):
        why = "that is not a folder. Name a folder."
    elif not os.access(folder, os.W_OK | os.X_OK):
        why = "that folder cannot be written. Name another folder, or change its owner or mode."
    if why:
        raise BadOption("--pinkeep-snippet-dir", folder, why, run=run)


def first_line(keyring: str) -> str:
    """Return the line by which pinkeep knows its own snippets."""
    return f"# Public key pins of the keyring {keyring}, written by certbot-pinkeep."


def directives(snippet: str | None) -> list[str]:
    """Return what a snippet has Apache send, at whichever hosts: its lines without comments.

    Left out are the two lines that ask for mod_headers: a snippet of version 0.1 lacks them.
    """
    lines = (line.strip() for line in (snippet or "").splitlines())
    found = [line for line in lines if line and not line.startswith("#")]
    wrappers = [line for line in found if _WRAPPER.fullmatch(line)]
    if len(wrappers) == 2 and wrappers == [found[0], found[-1]]:
        found = found[1:-1]
    return [_KEYED.sub(f'"expr={_OVER_TLS}"', line) for line in found]


def condition(snippet: str | None) -> str:
    """Return the condition that names the hosts of a snippet; empty: the header goes out wherever Apache
    includes the snippet, as with version 0.1."""
    found = (_KEYED.search(line.strip()) for line in (snippet or "").splitlines())
    return next((match["hosts"] for match in found if match), "")


def render(keyring: Keyring, policy: Policy | None) -> str:
    """Write the snippet's text.

    :param policy: what the snippet publishes; ``None``: nothing any more
    """
    lines = [
        first_line(keyring.name),
        "# Include this file in Apache's own configuration, or in a <VirtualHost>. pinkeep writes it anew:",
        "# edits are lost. Change the keyring's options instead: certbot-pinkeep pin --help",
        "#",
    ]
    if policy is None:
        lines.append(
            "# No header is sent: the keyring is unpinned, or another server sends its header."
        )
        return "\n".join(lines) + "\n"
    hosts = _requested(keyring.served_at)
    lines.append(f"{pin_lines(keyring, policy)}{_IF_MODULE}")
    lines.append(
        f"Header always set {policy.header_name} {_quoted(policy.header_value)} "
        f'"expr={_OVER_TLS} && ({hosts})"'
    )
    lines.append(_END_IF)
    return "\n".join(lines) + "\n"


def _requested(hosts: Iterable[str]) -> str:
    """Write the condition that a request asks for one of the hosts, as an expression of Apache."""
    patterns = hostnames.patterns(hosts, _LONGEST_PATTERN)
    found = (f"%{{HTTP_HOST}} =~ m#^(?:{one})\\.?(?::[0-9]+)?$#i" for one in patterns)
    return " || ".join(found) or "false"


def pin_lines(keyring: Keyring, policy: Policy) -> str:
    """Write a comment for each pin: its key's type and role."""
    lines = []
    served = {key.pin for key in keyring.in_service()}
    for pin in policy.pins:
        key = keyring.key(pin)
        role: str = key.role if key else "of another keyring"
        if pin in served:
            role = "in service" if role == "in-service" else f"{role}, in service"
        lines.append(f"# {pin}  {key.kind if key else 'unknown'}  {role}\n")
    return "".join(lines)


def read_policy(snippet: str) -> Policy | None:
    """Return the policy that a snippet's text publishes; ``None``: none that pinkeep can read."""
    found = _DIRECTIVE.search(snippet)
    if not found:
        return None
    quoted = found["value"] if found["value"] is not None else found["bare"]
    value = re.sub(r"\\(.)", r"\1", quoted).replace("%%", "%")
    return policies.read_policy(value, report_only=found["name"].lower() == REPORT_ONLY.lower())


def read_snippet(path: str) -> str | None:
    """Return the snippet's text; ``None``: there is no such file.

    :raises PublishFailed: if the file cannot be read
    """
    content = _content(path)
    return None if content is None else content.decode("utf-8", errors="replace")


def _content(path: str) -> bytes | None:
    try:
        return atomic.read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PublishFailed(f"The snippet {path} cannot be read: {error.strerror}.") from error


def publish(server: Server, changes: Mapping[str, str | None], earlier: str | None) -> None:
    """Bring snippets into place and test the server's configuration with them.

    :param changes: the text for each path; ``None``: no file
    :param earlier: the text to put back at ``server.snippet`` if the new text is there already: a run that
        was killed wrote it, and did not test it
    :raises PublishFailed: if a file cannot be written, or the test fails; the earlier files are back (G6)
    """
    after = {path: _bytes(text) for path, text in changes.items()}
    before = {path: _content(path) for path in changes}
    if before.get(server.snippet) == after.get(server.snippet):
        before[server.snippet] = _bytes(earlier)
    try:
        _put(after)
    except PublishFailed:
        _put(before)
        raise
    if failure := _run(server.configtest):
        _put(before)
        raise _failed_test(
            server, f"pinkeep has put back the earlier snippet {server.snippet}", failure
        )


def test(server: Server) -> None:
    """Test the server's configuration as it is.

    :raises ApacheFailed: if the test fails
    """
    if failure := _run(server.configtest):
        raise _failed_test(server, f"pinkeep has not reloaded {server.title}", failure)


def _failed_test(server: Server, so: str, failure: str) -> ApacheFailed:
    """Make the error for a configuration that fails its test.

    :param so: what pinkeep has done about it, as a part of a sentence
    """
    what = f"{server.title}'s configuration test failed, so {so}."
    again = "certbot renew"
    if not _NO_HEADERS.search(failure):
        return ApacheFailed(
            what, f"{failure} Mend {server.title}'s configuration first.", run=again
        )
    why = f"{failure} Apache has not loaded mod_headers."
    if which("a2enmod"):
        return ApacheFailed(what, why, run=f"a2enmod headers && {again}")
    load = "LoadModule headers_module modules/mod_headers.so"
    add = f"Add this line to Apache's configuration first, with the path of your modules: {load}"
    return ApacheFailed(what, f"{why} {add}", run=again)


def lacks_headers(server: Server) -> bool:
    """Say whether Apache has not loaded mod_headers. Then it sends no header, and its test passes.

    If Apache cannot be asked, the answer is no.
    """
    if server.kind != "apache" or server.configtest[-1:] not in (("configtest",), ("-t",)):
        return False
    status, said = running.ask((*server.configtest[:-1], "-M"))
    return status == 0 and "_module" in said and "headers_module" not in said


def without_headers(snippet: str, *, by_hand: bool = False) -> str:
    """Tell that Apache has not loaded mod_headers, and what to do.

    :param by_hand: whether setup cannot enable the module
    """
    what = f"Apache has not loaded mod_headers, so Apache does not send the header in {snippet}."
    if which("a2enmod") and not by_hand:
        return text.joined(what, text.command("certbot-pinkeep setup"))
    return text.joined(what, "Load headers_module in Apache's configuration, and reload Apache.")


def reload(server: Server) -> bool:
    """Make the servers load the snippet and the certificates. Run all commands, whichever fails.

    :returns: whether any server runs: pinkeep starts none, and a server loads everything when it starts
    :raises PublishFailed: if any command fails; the next run tries all of them again
    """
    running_ones = [words for words in reload_words(server) if not running.is_stopped(words)]
    failures = [failure for words in running_ones if (failure := _run(words))]
    if failures:
        what = (
            f"{server.title} could not be reloaded, so it still serves what it loaded before."
            if len(server.reload) == 1
            else "Not every server could be reloaded, so some serve what they loaded before."
        )
        name = server.title if len(server.reload) == 1 else "the servers"
        why = f"{' '.join(failures)} Mend that. The command below tries again. Or reload {name} yourself."
        raise ApacheFailed(what, why, run="certbot renew")
    return bool(running_ones)


def is_stopped(server: Server) -> bool:
    """Say whether none of the servers runs, as far as pinkeep knows."""
    return bool(server.reload) and all(map(running.is_stopped, reload_words(server)))


def reload_words(server: Server) -> tuple[tuple[str, ...], ...]:
    """Return the commands that reload the servers, as they are right now."""
    if not server.default:
        return server.reload
    systemctl = which("systemctl")
    return tuple(running.by_systemd(server.kind, systemctl, one) for one in server.reload)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def _put(contents: Mapping[str, bytes | None]) -> None:
    for path, content in contents.items():
        try:
            if content is not None and content != _content(path):
                atomic.replace(path, content, 0o644)
            elif content is None and os.path.exists(path):
                atomic.remove(path)
        except OSError as error:
            raise PublishFailed(
                f"The snippet {path} cannot be written: {error.strerror}.",
                "Check that its folder exists and can be written.",
            ) from error


def _quoted(value: str) -> str:
    # Apache reads backslashes and quotes in its directives, and mod_headers reads %-formats.
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def which(program: str) -> str | None:
    """Return the full path of a program; ``None``: the system does not have it."""
    # Under cron, PATH often lacks the folder of Apache's control program.
    path = os.pathsep.join((os.environ.get("PATH", ""), *_SYSTEM_PATH))
    return shutil.which(program, path=path)


def _run(words: Sequence[str]) -> str:
    """Run a command, and return what went wrong, as sentences; empty: nothing."""
    shown = shlex.join(words)
    try:
        status, said = running.run(words, TIME_LIMIT) if words else (0, "")
    except TimeoutError:
        return f"'{shown}' did not end within {TIME_LIMIT} seconds and was stopped."
    except OSError as error:
        return f"'{shown}' cannot be run: {error.strerror}."
    said = " ".join(said[-_SHOWN:].split())
    return f"'{shown}' failed with status {status}: {said or 'it said nothing'}." if status else ""
