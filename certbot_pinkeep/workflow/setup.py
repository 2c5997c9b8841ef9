"""Prepare a machine: its servers include the snippets, and certbot runs the deploy hook. And back.

The rules:

* Each server on this machine is prepared, apart from the others. A server's configuration is tested with
  what was made or taken back. If it fails its test, its files are as they were before (G6).
* A server that runs loads its configuration each time, so that a run that was stopped is made good. A server
  that does not run is never started (G12).
* What was done is told when it is done. A dry run tells the same, and does nothing.
* Taking back removes what setup has made, and nothing else. What cannot be taken back stays, and does not
  hold up the rest.
* The file that notes what was made is made first. That file is removed last, when the server is reloaded. So
  a run that was killed, or whose reload failed, is completed by the next one.
* If a run was killed before its test, what it made may fail that test. The next run takes it back then.
* A snippet of version 0.1 sends its header at every host for which Apache includes the snippet. So no server
  includes all snippets while there is such a snippet: hosts would be pinned that no keyring has (G9).
"""

from __future__ import annotations

import logging
import os
import re
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress

from certbot_pinkeep.carriers import apache, layout, nginx, running, servers
from certbot_pinkeep.carriers.apache import Server
from certbot_pinkeep.carriers.layout import Entry
from certbot_pinkeep.carriers.servers import Kind
from certbot_pinkeep.core import text
from certbot_pinkeep.core.errors import ApacheFailed, PinkeepError
from certbot_pinkeep.storage import atomic

logger = logging.getLogger(__name__)

#: The name of the deploy hook's link. An admin's own link has another one.
HOOK = "certbot-pinkeep-setup"
#: What nginx says of a snippet that is included within a server block.
_MISPLACED = re.compile(r'"map" directive is not allowed here in (?P<path>/\S+):\d')
Tell = Callable[[str], None]


def set_up(config_dir: str, command: str, tell: Tell, *, dry: bool) -> None:
    """Prepare this machine.

    :param command: the path of ``certbot-pinkeep``
    :param dry: whether only to tell what would be done
    :raises PinkeepError: if something cannot be prepared; all else is
    """
    failures: list[PinkeepError] = []
    kinds = [kind for kind in servers.KINDS.values() if layout.is_here(kind)]
    if not kinds:
        tell("There is no Apache and no nginx on this machine, so no server sends pins.")
    for kind in kinds:
        try:
            missing = [one for one in layout.wanted(kind, config_dir) if not one.is_there]
            if missing:
                _check_hosts(kind, config_dir)
            if not missing:
                tell(f"{kind.title} includes the pins of all keyrings already.")
            _make_all(kind, missing, tell, config_dir, dry=dry)
            server = servers.server(kind)
            if not dry and apache.lacks_headers(server):
                tell(apache.without_headers(f"the files that {kind.title} includes", by_hand=True))
        except PinkeepError as error:
            failures.append(error)
    hook = _hook(config_dir, command)
    if os.path.lexists(hook.path) and not os.path.islink(hook.path):
        what = f"{hook.path} is in the way: it is no link, so setup did not make it."
        failures.append(PinkeepError(what, "Move it away, and run setup again."))
    elif not hook.is_there and not _is_linked(config_dir):
        if not dry:
            with suppress(FileNotFoundError):
                atomic.remove(hook.path)  # the command was in another place
            atomic.make_folder(os.path.dirname(hook.path), 0o755)
            _make(hook)
        tell(f"{hook.told}.")
    _tell_failures(failures)


def take_back(config_dir: str, tell: Tell, *, dry: bool) -> None:
    """Take back what :func:`set_up` made.

    :raises PinkeepError: if something cannot be taken back; all else is
    """
    failures: list[PinkeepError] = []
    for kind in servers.KINDS.values():
        try:
            found = layout.made(kind, config_dir)
            if found:
                _remove_all(kind, found, tell, layout.kept(kind, config_dir), dry=dry)
        except PinkeepError as error:
            failures.append(error)
    path = _hook(config_dir, "").path
    if os.path.islink(path):
        if not dry:
            atomic.remove(path)
        tell(f"Removed {path}.")
    _tell_failures(failures)


def _tell_failures(failures: Sequence[PinkeepError]) -> None:
    """Raise the first of these errors, if there is any, and log the others."""
    for other in failures[1:]:
        logger.error("%s", other)
    if failures:
        raise failures[0]


def _check_hosts(kind: Kind, config_dir: str) -> None:
    """Check that no snippet sends its header at every host."""
    for path in layout.snippets(kind, config_dir):
        if kind.sends_everywhere(apache.read_snippet(path) or ""):
            raise PinkeepError(
                f"{kind.title} would send the pins in {path} at every host.",
                "Version 0.1 of pinkeep wrote that snippet. The next run of certbot writes it anew, for the "
                "hosts of its keyring. If that keyring has no certificate any more, move the snippet away. "
                "Then run setup again.",
                run="certbot renew",
            )


def _make_all(
    kind: Kind, entries: Sequence[Entry], tell: Tell, config_dir: str, *, dry: bool
) -> None:
    """Make entries of a server, and have the server load them."""
    server = servers.server(kind)
    if not dry:
        try:
            _change(server, [*entries])
        except PinkeepError:
            _take_untested_back(server, layout.made(kind, config_dir))
            raise
    for entry in entries:
        tell(f"{entry.told}.")
    tell(_loaded(server, dry=dry))


def _take_untested_back(server: Server, made: list[Entry]) -> None:
    """Remove what a run made that was killed before its test, if that is what fails the test.

    :raises PinkeepError: if it was removed
    """
    failure = _failure(server) if made else ""
    if not failure:
        return
    try:
        _change(server, [], made[::-1])
    except PinkeepError:  # something else fails: all is as it was before
        return
    what = f"{server.title} does not take what an earlier run of setup made, so setup removed that."
    raise PinkeepError(what, failure)


def _remove_all(kind: Kind, made: list[Entry], tell: Tell, kept: str, *, dry: bool) -> None:
    """Take entries of a server back, and have the server load its configuration without them.

    :param made: in the order in which they are made: the first one notes the others
    :param kept: why the module headers stays enabled; empty: it does not
    """
    server = servers.server(kind)
    links = [one for one in made[:0:-1] if not (kept and one.is_module)]
    if not dry:
        file = [one for one in (layout.without_line(kind, made[0]),) if one and not one.is_there]
        try:
            _change(server, file, links)
        except PinkeepError as error:
            without = [one for one in links if not one.is_module]
            if without == links:
                if kind is servers.NGINX:
                    error.run = error.run or layout.USES
                raise
            _change(server, file, without)
            kept = f"Apache's module headers stays enabled, because Apache needs it: {error.why}"
            links = without
    for link in links:
        tell(f"Removed {link.path}.")
    loaded = _loaded(server, dry=dry)
    if not dry:
        atomic.remove(made[0].path)
    tell(f"Removed {made[0].path}.")
    tell(loaded)
    if kept:
        tell(kept)


def _change(server: Server, make: Sequence[Entry], remove: Sequence[Entry] = ()) -> None:
    """Make and remove entries of a server, and test its configuration.

    :raises PinkeepError: if it fails its test; everything is as it was before
    """
    before = []
    try:
        for entry in remove:
            before.append((entry.path, _state(entry.path)))
            atomic.remove(entry.path)
        for entry in make:
            before.append((entry.path, _state(entry.path)))
            _make(entry)
        if failure := _failure(server):
            raise ApacheFailed(failure)
    except BaseException as error:  # or somebody stopped it
        for path, state in reversed(before):
            _restore(path, state)
        if not isinstance(error, (PinkeepError, OSError)):
            raise
        raise _failed(server, error, changed=bool(before)) from error


def _loaded(server: Server, *, dry: bool) -> str:
    """Have the server load its configuration, and tell that."""
    if not server.reload:
        return f"There is no command here that reloads {server.title}. Reload it yourself."
    try:
        stopped = apache.is_stopped(server) if dry else not apache.reload(server)
    except PinkeepError as error:
        error.run = shlex.join(apache.reload_words(server)[0])
        raise
    if stopped:
        return f"{server.title} does not run. {server.title} loads its configuration when you start it."
    return f"Reloaded {server.title}."


def _failure(server: Server) -> str:
    """Return why the configuration fails its test, as a sentence; empty: it passes."""
    status, said = running.ask(server.configtest) if server.configtest else (0, "")
    shown = text.short(said, 600) or "it said nothing."
    return f"'{shlex.join(server.configtest)}' failed: {shown}" if status else ""


def _failed(server: Server, error: PinkeepError | OSError, *, changed: bool) -> PinkeepError:
    """Tell why a server's files are as they were before."""
    title = server.title
    if not isinstance(error, PinkeepError):
        return PinkeepError(
            f"{error.filename} cannot be written: {error.strerror}.",
            f"The files of {title} are as they were before.",
        )
    misplaced = _MISPLACED.search(error.what)
    if misplaced and nginx.MARK in (apache.read_snippet(misplaced["path"]) or ""):
        return PinkeepError(
            f"nginx reads {misplaced['path']} within a server block. The file belongs to the http block.",
            "setup includes that file there. The files of nginx are as they were before. Find the line that "
            "includes the file within a server block, and take that line out. Then run setup again.",
            run=f"grep -rn {shlex.quote(os.path.dirname(misplaced['path']))} /etc/nginx",
        )
    if changed and not _failure(server):
        what = f"{title} does not take this change, so its files are as they were before."
        return PinkeepError(what, str(error))
    what = f"{title}'s configuration fails its test, also without this change."
    return PinkeepError(what, str(error), run=shlex.join(server.configtest))


def _make(entry: Entry) -> None:
    if entry.target:
        atomic.link(entry.path, entry.target)
    else:
        atomic.put(entry.path, entry.text.encode(), 0o644)


def _state(path: str) -> tuple[str, bytes | None] | None:
    """Return what is at a path: where a link leads, or what is in a file; ``None``: nothing."""
    if os.path.islink(path):
        return os.readlink(path), None
    try:
        return "", atomic.read(path)
    except FileNotFoundError:
        return None


def _restore(path: str, state: tuple[str, bytes | None] | None) -> None:
    if state is None:
        with suppress(FileNotFoundError):
            atomic.remove(path)
    elif state[1] is not None:
        atomic.put(path, state[1], 0o644)
    elif not os.path.lexists(path):
        atomic.link(path, state[0])


def _hook(config_dir: str, command: str) -> Entry:
    path = os.path.join(_hooks(config_dir), HOOK)
    return Entry(path, f"Certbot runs the deploy hook of pinkeep: {path}", target=command)


def _hooks(config_dir: str) -> str:
    return os.path.join(config_dir, "renewal-hooks", "deploy")


def _is_linked(config_dir: str) -> bool:
    """Say whether the admin has linked the deploy hook, to a command that is there."""
    folder = _hooks(config_dir)
    with suppress(FileNotFoundError):
        paths = [os.path.join(folder, name) for name in os.listdir(folder) if name != HOOK]
        return any(
            os.path.basename(os.path.realpath(path)) == "certbot-pinkeep" and os.path.exists(path)
            for path in paths
        )
    return False
