"""Certbot's renewal files, ``renewal/NAME.conf``.

The rules:

* A lineage that is pinned keeps its key, also in a certbot that lacks the plugin. Certbot notes that
  (``reuse_key``) at a renewal only; a lineage that is not due is adopted all the same, so it is noted here,
  before anything is published.
* The installer that the admin chose stays.
* ``certbot renew`` rolls a lineage over whatever its installer is, but only if certbot renews it of itself.
* A lineage is named by its folder in ``live/``, also if an admin renamed or copied its renewal file. Certbot
  renews it all the same, into the folder that the file names.
* No option of pinkeep stays there: the keyring file has the options. Those that pinkeep 0.1 had certbot store
  are taken over, and taken out, when the lineage has its turn. Such options would stop a certbot without the
  plugin (G11).
* Only the files of lineages that pinkeep keeps are written, and only these lines of them (G9). Each is
  written whole or not at all.
"""

from __future__ import annotations

import glob
import io
import os
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import configobj

from certbot_pinkeep.adapters.certbot_config import INSTALLER
from certbot_pinkeep.core import options
from certbot_pinkeep.core.errors import PinkeepError
from certbot_pinkeep.storage import atomic

_OURS = INSTALLER.encode()
#: What reading a damaged file raises.
_DAMAGED = (ValueError, LookupError, TypeError, AttributeError, SyntaxError)
_SECTION = re.compile(
    rb"^(?P<head>[ \t]*\[[ \t]*renewalparams[ \t]*\][^\r\n]*(?P<end>\r?\n))(?P<lines>.*?)(?=^[ \t]*\[|\Z)",
    re.M | re.S,
)


@dataclass(frozen=True)
class Renewal:
    """How a lineage is renewed.

    :ivar cert_path: ``live/NAME/cert.pem``
    :ivar renew_before_expiry: as it is written, e.g. ``30 days``; empty: certbot's default
    :ivar autorenew: whether certbot renews it of itself
    :ivar options: what pinkeep 0.1 had certbot store, by the options' names without ``--pinkeep-``
    """

    name: str
    cert_path: str
    key_path: str
    installer: str | None
    reuse_key: bool
    must_staple: bool
    deploy_hook: str
    renew_before_expiry: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    autorenew: bool = True

    @property
    def apart(self) -> str:
        """What keeps ``certbot renew`` from rolling it over, as a line of the file; empty: nothing."""
        return "" if self.autorenew else "autorenew = False"


def names(config_dir: str) -> list[str]:
    """Return the lineages of a config dir, in the order in which certbot renews them."""
    return list(dict.fromkeys(_named(config_dir, path) for path in _files(config_dir)))


def _files(config_dir: str) -> list[str]:
    return sorted(glob.glob(os.path.join(glob.escape(config_dir), "renewal", "*.conf")))


def _named(config_dir: str, path: str) -> str:
    """Return the name of the lineage that a renewal file is about."""
    live = os.path.join(config_dir, "live")
    stem = os.path.basename(path).removesuffix(".conf")
    if os.path.isdir(os.path.join(live, stem)):
        return stem
    with suppress(OSError, *_DAMAGED):
        folder = os.path.dirname(str(parsed(atomic.read(path))["cert"]))
        name = os.path.basename(folder)
        return name if name and os.path.isdir(os.path.join(live, name)) else stem
    return stem


def load(config_dir: str, name: str) -> Renewal | None:
    """Return the renewal file of a lineage; ``None`` when there is none.

    :raises PinkeepError: if it cannot be read
    """
    path = path_of(config_dir, name)
    if not os.path.exists(path):
        return None
    try:
        content = parsed(atomic.read(path))
        parameters = content["renewalparams"]
        return Renewal(
            name=name,
            cert_path=content["cert"],
            key_path=content["privkey"],
            installer=_text(parameters, "installer"),
            reuse_key=_text(parameters, "reuse_key") == "True",
            must_staple=_text(parameters, "must_staple") == "True",
            deploy_hook=_text(parameters, "renew_hook") or _text(parameters, "deploy_hook") or "",
            autorenew=(_text(parameters, "autorenew") or "True").lower()
            not in ("false", "0", "no"),
            renew_before_expiry=_text(content, "renew_before_expiry") or "",
            options={
                _option(item): value
                for item in parameters
                if item.startswith(options.STORED_PREFIX)
                and (value := _text(parameters, item)) is not None
            },
        )
    except (OSError, *_DAMAGED) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: Exception) -> PinkeepError:
    return PinkeepError(
        f"Certbot's renewal file {path} cannot be read: {error}. See 'certbot certificates'."
    )


def is_ours(config_dir: str, name: str) -> bool:
    """Return whether pinkeep is the installer of a lineage. Most files that name another are not parsed.

    :raises PinkeepError: if the file cannot be read
    """
    with suppress(OSError):
        if _OURS not in atomic.read(path_of(config_dir, name)):
            return False
    renewal = load(config_dir, name)
    return renewal is not None and renewal.installer == INSTALLER


def written(config_dir: str, name: str) -> object:
    """Return a value that differs once certbot has written the renewal file of a lineage anew."""
    try:
        found = os.stat(path_of(config_dir, name))
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def remember(config_dir: str, name: str, installer: str) -> None:
    """Note in a lineage's renewal file that *installer* renews the lineage, with its present key; take
    the options of pinkeep 0.1 out.

    :raises PinkeepError: if the file is not one of certbot's
    :raises OSError: if it cannot be written
    """
    _change(path_of(config_dir, name), {"installer": installer, "reuse_key": "True"}, None)


def keep_key(config_dir: str, name: str) -> None:
    """Note in a lineage's renewal file that its renewals keep the present key, and the installer.

    :raises PinkeepError: if the file is not one of certbot's
    :raises OSError: if it cannot be written
    """
    _change(path_of(config_dir, name), {"reuse_key": "True"}, ())


def take_out(config_dir: str, name: str, only: Collection[str] | None = None) -> None:
    """Take the options out of a lineage's renewal file that pinkeep 0.1 had certbot store there.

    :param only: those to take out, by their names without ``--pinkeep-``; ``None``: all
    :raises PinkeepError: if the file is not one of certbot's
    :raises OSError: if it cannot be written
    """
    path = path_of(config_dir, name)
    try:
        stored = options.STORED_PREFIX.encode() in atomic.read(path)
    except FileNotFoundError:
        return
    if stored:
        _change(path, {}, only)


def _change(path: str, wanted: Mapping[str, str], gone: Collection[str] | None) -> None:
    """Change lines of a renewal file; every other byte, the mode and the owner stay.

    :param wanted: values by their names in the file
    :param gone: the stored options of pinkeep to take out; ``None``: all
    """
    before = atomic.read(path)
    try:
        content = parsed(before)
        parameters = content["renewalparams"]
        stored = [one for one, _ in parameters.items() if one.startswith(options.STORED_PREFIX)]
    except _DAMAGED as error:
        raise _unreadable(path, error) from error
    wanted = {item: value for item, value in wanted.items() if _text(parameters, item) != value}
    out = [item for item in stored if gone is None or _option(item) in gone]
    if not wanted and not out:
        return
    parameters.update(wanted)
    for item in out:
        del parameters[item]
    after = _edited(before, wanted, out)
    if not _says(after, content):  # values over several lines, or in quotes that are not certbot's
        written = io.BytesIO()
        content.write(written)
        after = written.getvalue()
    found = os.stat(path)
    owner = (found.st_uid, found.st_gid)
    atomic.replace(path, after, found.st_mode & 0o777, owner=owner)


def _edited(content: bytes, wanted: Mapping[str, str], out: Collection[str]) -> bytes:
    """Change lines of the section ``[renewalparams]``, where each value has one line."""

    def changed(section: re.Match[bytes]) -> bytes:
        head, lines, end = section["head"], section["lines"], section["end"]
        for item in out:
            lines = re.sub(rf"(?m)^[ \t]*{re.escape(item)}[ \t]*=.*\n?".encode(), b"", lines)
        for item, value in wanted.items():
            line = rf"(?m)^([ \t]*{item}[ \t]*=)[^\r\n]*".encode()
            lines, found = re.subn(line, rb"\1 " + value.encode(), lines)
            head += b"" if found else f"{item} = {value}".encode() + end
        return head + lines

    return _SECTION.sub(changed, content)


def _says(written: bytes, content: configobj.ConfigObj) -> bool:
    with suppress(*_DAMAGED):
        return bool(parsed(written) == content)
    return False


def path_of(config_dir: str, name: str) -> str:
    """Return certbot's renewal file of a lineage, also if an admin renamed that file."""
    path = os.path.join(config_dir, "renewal", f"{name}.conf")
    if os.path.exists(path) or not os.path.isdir(os.path.join(config_dir, "live", name)):
        return path
    return next((one for one in _files(config_dir) if _named(config_dir, one) == name), path)


def certbots_name(config_dir: str, name: str) -> str:
    """Return the name by which certbot knows a lineage: that of its renewal file."""
    return os.path.basename(path_of(config_dir, name)).removesuffix(".conf")


def parsed(written: bytes) -> configobj.ConfigObj:
    """Parse a renewal file.

    :raises ValueError, SyntaxError: if it is damaged
    """
    return configobj.ConfigObj(
        io.BytesIO(written), encoding="utf-8", default_encoding="utf-8", interpolation=False
    )


def _option(item: str) -> str:
    return item.removeprefix(options.STORED_PREFIX).replace("_", "-")


def _text(parameters: Mapping[str, object], item: str) -> str | None:
    value = parameters.get(item)
    if isinstance(value, list):  # ConfigObj splits at commas
        value = ", ".join(map(str, value))
    return None if value is None or value == "None" else str(value)
