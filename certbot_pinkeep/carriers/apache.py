"""The header snippet for Apache, and the commands that test and load it.

The rules:

* One ``Header always set`` with two conditions: one header, on every response, also on errors. The
  connection is TLS: pins never go out over plain HTTP (RFC 7469 §2.2.2, §2.3.1).
* The request's ``Host`` is one of the keyring's hosts. So the file is right in a ``<VirtualHost>``, and in
  the server's own configuration, whatever a virtual host answers for. ``UseCanonicalName`` changes what
  Apache takes for its own name, and not this header, which HTTP/2 fills from ``:authority``.
* Apache compares letters of any case, and passes over a port and one dot at the end. ``*.`` stands for one
  label, as in a certificate.
* Apache reads no pattern of 8192 bytes or more. So many hosts become several patterns in one line.
* The line is inside ``<IfModule mod_headers.c>``: an Apache without mod_headers still starts, and
  still loads its certificates (G12). What a snippet publishes does not depend on these two lines.
* A changed snippet is written beside the old one and moved into place, then tested. When the test
  fails, what was there before is back, and nothing is reloaded (G6).
* A configuration is loaded only where it passes its test (G6).
* A command is run without a shell, with a time limit, and ended with all its children after it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from certbot import util as certbot_util

from certbot_pinkeep.carriers import running
from certbot_pinkeep.core import hostnames
from certbot_pinkeep.core.errors import ApacheFailed, BadHeader, BadOption, BadPolicy, PublishFailed
from certbot_pinkeep.core.header import read_header
from certbot_pinkeep.core.keyring import Keyring
from certbot_pinkeep.core.policy import ENFORCED, REPORT_ONLY, Policy
from certbot_pinkeep.storage import atomic

#: Seconds that a configtest or a reload may take.
TIME_LIMIT = 60
_SYSTEM_PATH = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin")
_SHOWN = 1000
_IF_MODULE = "<IfModule mod_headers.c>"
_END_IF = "</IfModule>"
# Around what counts all the same: any spelling that Apache takes for the same module.
_WRAPPER = re.compile(
    r"<IfModule\s+\"?(?:mod_headers\.c|headers_module)\"?\s*>|</IfModule\s*>", re.I
)
#: What Apache says of a directive of mod_headers when that is not loaded.
_NO_HEADERS = re.compile(r"Invalid command '(?:Request)?Header'", re.I)
#: The longest pattern, in bytes.
_LONGEST_PATTERN = 4000
_OVER_TLS = "%{HTTPS} == 'on'"
_KEYED = re.compile(rf'"expr={re.escape(_OVER_TLS)} && \((?P<hosts>.*)\)"$')
# Also as admins may write it: what is on record must not depend on the spelling.
_DIRECTIVE = re.compile(
    r'^\s*Header\s+(?:(?:always|onsuccess)\s+)?[a-z]+\s+"?'
    rf'(?P<name>{ENFORCED}|{REPORT_ONLY}):?"?\s+'
    r'(?:"(?P<value>(?:[^"\\]|\\.)*)"|(?P<bare>\S+))',
    re.M | re.I,
)


@dataclass(frozen=True)
class Server:
    """How a keyring's snippet reaches its server.

    :ivar snippet: the snippet's file; empty: none
    :ivar configtest: words of the command; empty: none
    :ivar reload: words of each command; empty: the admin reloads the servers
    :ivar default: the server (``apache``, ``nginx``) whose default the reload command is; empty: the
        admin gave it
    :ivar title: the server's name in sentences
    :ivar kind: the same as ``--pinkeep-header`` has it; empty: none
    """

    snippet: str
    configtest: tuple[str, ...]
    reload: tuple[tuple[str, ...], ...]
    default: str = ""
    title: str = "Apache"
    kind: str = "apache"


def command(option: str, given: tuple[str, ...]) -> tuple[str, ...]:
    """The words of a command that the admin gave, with the program's full path; empty: none.

    :param option: the option that it was given with
    :raises BadOption: when the program does not exist
    """
    if not given:
        return ()
    program = _which(given[0])
    if program is None:
        raise BadOption(
            option, shlex.join(given), f"there is no program {given[0]!r} that can be run."
        )
    return (program, *given[1:])


def check_snippet_dir(folder: str) -> None:
    """See that the admin's snippet folder can take a snippet.

    :raises BadOption: when it cannot
    """
    why = None
    if not os.path.exists(folder):
        why = f"there is no such folder. Run: mkdir -p {shlex.quote(folder)}"
    elif not os.path.isdir(folder):
        why = "that is not a folder. Name a folder."
    elif not os.access(folder, os.W_OK | os.X_OK):
        why = "that folder cannot be written. Name another one, or change its owner or mode."
    if why:
        raise BadOption("--pinkeep-snippet-dir", folder, why)


def first_line(keyring: str) -> str:
    """The line that tells our snippets from everybody else's files."""
    return f"# Public key pins of the keyring {keyring}, written by certbot-pinkeep."


def directives(snippet: str | None) -> list[str]:
    """What a snippet has Apache send, at whichever hosts: its lines but for comments, and for the two
    around them that ask for mod_headers, which a snippet of version 0.1 lacks."""
    lines = (line.strip() for line in (snippet or "").splitlines())
    found = [line for line in lines if line and not line.startswith("#")]
    wrappers = [line for line in found if _WRAPPER.fullmatch(line)]
    if len(wrappers) == 2 and wrappers == [found[0], found[-1]]:
        found = found[1:-1]
    return [_KEYED.sub(f'"expr={_OVER_TLS}"', line) for line in found]


def condition(snippet: str | None) -> str:
    """Which hosts a snippet has Apache send its header at; empty: wherever the snippet is included, as
    one of version 0.1 is."""
    found = (_KEYED.search(line.strip()) for line in (snippet or "").splitlines())
    return next((match["hosts"] for match in found if match), "")


def render(keyring: Keyring, policy: Policy | None) -> str:
    """The snippet's text.

    :param policy: what it publishes; ``None``: nothing any more
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
    hosts = _requested(hostnames.hosts(keyring.served_at))
    lines.append(f"{pin_lines(keyring, policy)}{_IF_MODULE}")
    lines.append(
        f"Header always set {policy.header_name} {_quoted(policy.header_value)} "
        f'"expr={_OVER_TLS} && ({hosts})"'
    )
    lines.append(_END_IF)
    return "\n".join(lines) + "\n"


def _requested(hosts: Iterable[str]) -> str:
    """The condition that a request asks for one of the hosts, in Apache's language of expressions."""
    patterns: list[str] = []
    for one in sorted(map(_pattern, hosts)):
        if patterns and len(patterns[-1]) + len(one) < _LONGEST_PATTERN:
            patterns[-1] += f"|{one}"
        else:
            patterns.append(one)
    found = (f"%{{HTTP_HOST}} =~ m#^(?:{one})\\.?(?::[0-9]+)?$#i" for one in patterns)
    return " || ".join(found) or "false"


def _pattern(host: str) -> str:
    if ":" in host:
        return rf"\[{host}\]"
    name = host.removeprefix("*.").replace(".", r"\.")
    return rf"[^.:]+\.{name}" if host.startswith("*.") else name


def pin_lines(keyring: Keyring, policy: Policy) -> str:
    """A comment for each pin: its key's type and role."""
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
    """The policy that a snippet's text publishes; ``None`` when it publishes none that we can
    read."""
    found = _DIRECTIVE.search(snippet)
    if not found:
        return None
    quoted = found["value"] if found["value"] is not None else found["bare"]
    value = re.sub(r"\\(.)", r"\1", quoted).replace("%%", "%")
    try:
        header = read_header(value)
        return Policy(
            header.pins,
            header.max_age,
            header.include_subdomains,
            header.report_uri,
            found["name"].lower() == REPORT_ONLY.lower(),
        )
    except (BadHeader, BadPolicy):
        return None


def read_snippet(path: str) -> str | None:
    """The snippet's text; ``None`` when there is no such file.

    :raises PublishFailed: when it cannot be read
    """
    content = _content(path)
    return None if content is None else content.decode("utf-8", errors="replace")


def _content(path: str) -> bytes | None:
    try:
        return atomic.read(path, atomic.MEDIUM)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PublishFailed(f"The snippet {path} cannot be read: {error.strerror}.") from error


def publish(server: Server, changes: Mapping[str, str | None], earlier: str | None) -> None:
    """Bring snippets into place and test the server's configuration with them.

    :param changes: by path, the text to be there; ``None``: no file
    :param earlier: what to put back at ``server.snippet`` where the new text is there already: a
        run that was killed wrote it, and left its test undone
    :raises PublishFailed: when it cannot be written or does not pass; what was there is back (G6)
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
    failure = _run(server.configtest) if server.configtest else None
    if failure is None:
        return
    _put(before)
    raise ApacheFailed(
        f"{server.title}'s configuration test failed, so the snippet {server.snippet} is as it was "
        f"before. {failure} {_mending(server.title, failure)}"
    )


def test(server: Server) -> None:
    """Test the server's configuration as it is.

    :raises ApacheFailed: when it does not pass
    """
    failure = _run(server.configtest) if server.configtest else None
    if failure is not None:
        raise ApacheFailed(
            f"{server.title}'s configuration test failed, so {server.title} was not reloaded. {failure} "
            f"{_mending(server.title, failure)}"
        )


def _mending(title: str, failure: str) -> str:
    """What to do about a configuration that fails its test, as a sentence."""
    again = "certbot renew"
    if not _NO_HEADERS.search(failure):
        return f"Mend {title}'s configuration, and run '{again}' again."
    if _which("a2enmod"):
        return f"Apache has not loaded mod_headers. Run: a2enmod headers && {again}"
    return (
        "Apache has not loaded mod_headers. Add this line to Apache's configuration, with the path of "
        f"your modules: LoadModule headers_module modules/mod_headers.so -- and run: {again}"
    )


def lacks_headers(server: Server) -> bool:
    """Whether Apache says that it has not loaded mod_headers: it sends no header then, and its test
    passes all the same. Not, where it cannot be asked."""
    if server.kind != "apache" or server.configtest[-1:] not in (("configtest",), ("-t",)):
        return False
    status, said = running.ask((*server.configtest[:-1], "-M"))
    return status == 0 and "_module" in said and "headers_module" not in said


def without_headers(snippet: str) -> str:
    """What to say where Apache has not loaded mod_headers."""
    load = "a2enmod headers" if _which("a2enmod") else "load headers_module in its configuration"
    return (
        f"Apache has not loaded mod_headers, so it does not send the header in {snippet}. Run: {load} "
        "-- and reload Apache."
    )


def reload(server: Server) -> bool:
    """Make the servers load the snippet and the certificates. All commands are run, whichever fails.

    :returns: whether any server runs: one that does not is not started, and loads everything when it
        starts
    :raises PublishFailed: if any command fails; all are run again at the next run
    """
    running_ones = [words for words in reload_words(server) if not running.is_stopped(words)]
    failures = [failure for words in running_ones if (failure := _run(words)) is not None]
    if failures:
        what = (
            f"{server.title} could not be reloaded, so it still serves what it loaded before."
            if len(server.reload) == 1
            else "Not every server could be reloaded, so some serve what they loaded before."
        )
        name = server.title if len(server.reload) == 1 else "the servers"
        raise ApacheFailed(
            f"{what} {' '.join(failures)} It is tried again at the next 'certbot renew'; or mend it and "
            f"reload {name} by hand."
        )
    return bool(running_ones)


def is_stopped(server: Server) -> bool:
    """Whether the servers are all known not to run."""
    return bool(server.reload) and all(map(running.is_stopped, reload_words(server)))


def reload_words(server: Server) -> tuple[tuple[str, ...], ...]:
    """Return the commands that reload the servers, as they are right now."""
    if not server.default:
        return server.reload
    systemctl = _which("systemctl")
    return tuple(running.by_systemd(server.default, systemctl, one) for one in server.reload)


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
                f"The snippet {path} cannot be written: {error.strerror}. See that its folder "
                "exists and can be written."
            ) from error


def _quoted(value: str) -> str:
    # Apache reads backslashes and quotes in its directives, and mod_headers reads %-formats.
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def which(program: str) -> str | None:
    """The full path of a program, where the system has it."""
    return _which(program)


def _which(program: str) -> str | None:
    # Run from cron, PATH often lacks the folder of Apache's control program.
    path = os.pathsep.join((os.environ.get("PATH", ""), *_SYSTEM_PATH))
    return shutil.which(program, path=path)


def _run(words: Sequence[str]) -> str | None:
    """Run a command; return what went wrong as sentences, ``None`` when nothing did."""
    shown = shlex.join(words)
    # Output goes to a file: a daemon that keeps a pipe open must not keep us waiting.
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=certbot_util.env_no_snap_for_external_calls(),
                start_new_session=True,
            )
        except OSError as error:
            return f"'{shown}' cannot be run: {error.strerror}."
        try:
            status = process.wait(TIME_LIMIT)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f"'{shown}' did not end within {TIME_LIMIT} seconds and was stopped."
        if status == 0:
            return None
        output.seek(max(0, output.seek(0, os.SEEK_END) - _SHOWN))  # however much it said
        said = " ".join(output.read(_SHOWN).decode(errors="replace").split())
        return f"'{shown}' failed with status {status}: {said or 'it said nothing'}."
