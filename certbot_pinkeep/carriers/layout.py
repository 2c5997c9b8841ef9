"""Know which files make a server include the snippets of all keyrings, on each system.

The rules:

* Debian's Apache has ``conf-available``, ``conf-enabled`` and ``mods-enabled``; links there are what
  ``a2enconf`` and ``a2enmod`` make. Elsewhere Apache and nginx read what is in a folder of their own.
* A file of ours begins with a line that says so, and notes what else was made for it: nothing else has to
  remember what is to be taken back. So it is made first, and removed last.
* Apache's module headers stays if anything else in Apache's configuration sets headers, or lets the files
  ``.htaccess`` set them: no test reads these files.
* A file that pinkeep did not write is never touched (G9).
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from certbot_pinkeep.carriers import reading, servers
from certbot_pinkeep.carriers.servers import APACHE, NGINX, Kind
from certbot_pinkeep.core.errors import PinkeepError
from certbot_pinkeep.storage import atomic

#: Where the folders below begin.
ROOT = "/"
MARK = "# Written by certbot-pinkeep setup. To take it back, run: certbot-pinkeep setup --undo\n"
#: Finds the lines for which nginx needs what setup has made.
USES = "grep -rn '[$]pinkeep_' /etc/nginx"
_ENABLED = "# setup also enabled Apache's module headers.\n"
_DEBIAN = "etc/apache2/conf-available"
#: Folders whose files a server reads, by the server: the first that is there counts.
_FOLDERS = {
    APACHE.name: ("etc/httpd/conf.d", "etc/apache2/conf.d"),
    NGINX.name: ("etc/nginx/http.d", "etc/nginx/conf.d"),
}
_INCLUDE = {APACHE.name: 'IncludeOptional "{}"\n', NGINX.name: 'include "{}";\n'}
_FILE = "pinkeep.conf"
_HEADER = re.compile(r"^\s*(?:Request)?Header\s", re.M | re.I)
_OVERRIDES = re.compile(
    r"^\s*AllowOverride(?:\s.*\b(?:All|FileInfo)\b|List\s.*\b(?:Request)?Header\b)", re.M | re.I
)
_TAKEN_BACK = "# setup takes this back: the server is to be reloaded.\n"


@dataclass(frozen=True)
class Entry:
    """Hold a file or a link that setup makes.

    :ivar path: where it is
    :ivar told: what it does, as a sentence
    :ivar text: what is in the file; empty: it is a link
    :ivar target: where the link leads
    :ivar is_module: whether it enables Apache's module headers
    """

    path: str
    told: str
    text: str = ""
    target: str = ""
    is_module: bool = False

    @property
    def is_there(self) -> bool:
        """Say whether the file or link is as setup makes it."""
        if self.target:
            return os.path.islink(self.path) and os.readlink(self.path) == self.target
        return _text(self.path) == self.text


def wanted(kind: Kind, config_dir: str) -> list[Entry]:
    """List what makes a server include the snippets, in the order in which it is made.

    :raises PinkeepError: if a file is in the way, or the system is laid out in an unknown way
    """
    line, path, debian = _line(kind, config_dir), _path(kind), _debian(kind)
    if not path:
        raise PinkeepError(
            f"pinkeep does not know which folder {kind.title} reads its configuration from.",
            by_hand(kind, config_dir),
        )
    if os.path.lexists(path) and not _is_ours(_text(path), line):
        raise _in_the_way(path, line)
    enables = debian and _enables_headers(debian, path)
    entries = _entries(kind, path, f"{MARK}{_ENABLED if enables else ''}{line}")
    for entry in entries:
        if entry.target and os.path.lexists(entry.path) and not entry.is_there:
            raise _in_the_way(entry.path, line)
    return entries


def snippets(kind: Kind, config_dir: str) -> list[str]:
    """List the snippets that a server includes then."""
    return sorted(glob.glob(_snippets(kind, config_dir)))


def made(kind: Kind, config_dir: str) -> list[Entry]:
    """List what setup has made for a server, in the order in which it is made."""
    path = _path(kind)
    text = _text(path)
    if not _is_ours(text, _line(kind, config_dir)):
        return []
    return [entry for entry in _entries(kind, path, text) if entry.is_there]


def without_line(kind: Kind, entry: Entry) -> Entry | None:
    """Return a file of a server as one that includes nothing any more; ``None``: the server does not read
    the file by itself."""
    if entry.target or _debian(kind):
        return None
    return _conf(kind, entry.path, MARK + _TAKEN_BACK)


def kept(kind: Kind, config_dir: str) -> str:
    """Tell why what setup has enabled stays enabled; empty: it does not."""
    if _ENABLED not in _text(_path(kind)):
        return ""
    own = {os.path.realpath(path) for path in snippets(kind, config_dir)}
    for path in _read_by(kind):
        text = "" if os.path.realpath(path) in own else _text(path)
        why = "sets headers" if _HEADER.search(text) else ""
        why = why or ("lets .htaccess files set headers" if _OVERRIDES.search(text) else "")
        if why:
            return f"Apache's module headers stays enabled, because {path} {why}."
    return ""


def by_hand(kind: Kind, config_dir: str) -> str:
    """Tell what an admin does if setup cannot make the server include the snippets."""
    line = _line(kind, config_dir).strip()
    return f"Add this line to the configuration of {kind.title}, and reload {kind.title}: {line}"


def is_here(kind: Kind) -> bool:
    """Say whether a server is on this machine: its program alone has no configuration, and no control."""
    return kind.installed and bool(_path(kind) or kind.default(kind.configtest))


def is_set_up(kind: Kind, config_dir: str) -> bool:
    """Say whether setup has made the server include the snippets."""
    with suppress(PinkeepError):
        return all(entry.is_there for entry in wanted(kind, config_dir))
    return False


def _line(kind: Kind, config_dir: str) -> str:
    return _INCLUDE[kind.name].format(_snippets(kind, config_dir))


def _snippets(kind: Kind, config_dir: str) -> str:
    return os.path.join(config_dir, "pinkeep", kind.name, "*.conf")


def _debian(kind: Kind) -> str:
    """Return the folder of Debian's Apache; empty: another server, or another layout."""
    folder = os.path.join(ROOT, _DEBIAN)
    return os.path.dirname(folder) if kind is APACHE and os.path.isdir(folder) else ""


def _path(kind: Kind) -> str:
    """Return the file that includes the snippets; empty: pinkeep does not know the layout."""
    folders = (*([_DEBIAN] if kind is APACHE else []), *_FOLDERS[kind.name])
    found = (os.path.join(ROOT, folder) for folder in folders)
    folder = next(filter(os.path.isdir, found), "")
    return os.path.join(folder, _FILE) if folder else ""


def _entries(kind: Kind, path: str, text: str) -> list[Entry]:
    """List the file with this text, and the links that Debian's Apache needs for it."""
    entries, debian = [_conf(kind, path, text)], _debian(kind)
    if debian and _ENABLED in text:
        entries.append(_module(debian))
    if debian:
        link = os.path.join(debian, "conf-enabled", _FILE)
        told = f"This file is enabled, as by a2enconf: {link}"
        entries.append(Entry(link, told, target=f"../conf-available/{_FILE}"))
    return entries


def _conf(kind: Kind, path: str, text: str) -> Entry:
    return Entry(path, f"{kind.title} includes the pins of all keyrings: {path}", text=text)


def _module(debian: str) -> Entry:
    path = os.path.join(debian, "mods-enabled", "headers.load")
    told = f"Apache's module headers is enabled, as by a2enmod: {path}"
    return Entry(path, told, target="../mods-available/headers.load", is_module=True)


def _enables_headers(debian: str, path: str) -> bool:
    """Say whether setup enables the module headers, or has enabled it."""
    module = _module(debian)
    if not os.path.lexists(module.path):
        return os.path.exists(os.path.join(debian, "mods-available", "headers.load"))
    return module.is_there and _ENABLED in _text(path)


def _read_by(kind: Kind) -> Iterator[str]:
    """Yield the files that Apache reads: those of Debian's layout, and all that Apache itself names."""
    folder = glob.escape(_debian(kind))
    for pattern in ("*.conf", "*-enabled/*"):
        yield from sorted(glob.glob(os.path.join(folder, pattern)))
    config = reading.read(servers.server(kind))
    yield from config.files if config else ()


def _is_ours(text: str, line: str) -> bool:
    """Say whether setup has written a file for this configuration folder of certbot."""
    return text.startswith(MARK) and (line in text or _TAKEN_BACK in text)


def _in_the_way(path: str, line: str) -> PinkeepError:
    return PinkeepError(
        f"{path} is in the way: it is not what setup makes for this configuration folder of certbot.",
        f"Move this file away, or add this line to it yourself: {line.strip()}",
    )


def _text(path: str) -> str:
    """Return a file's text; empty: there is no file that can be read."""
    try:
        return atomic.read(path).decode("utf-8", errors="replace")
    except OSError:
        return ""
