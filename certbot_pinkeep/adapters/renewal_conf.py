"""Certbot's renewal files, ``renewal/NAME.conf``.

The rules:

* A lineage that is pinned must be renewed by pinkeep, or at least with the same key, also by the
  next plain ``certbot renew``. Certbot notes its options at a renewal only; a lineage that is not
  due is adopted all the same, so the options are noted here, before anything is published.
* ``certbot renew`` rolls a lineage over only if pinkeep is its installer, by ``cli.ini`` or else by its file,
  and only if certbot renews it of itself.
* A value that cannot be used does not stay there: else it would count again once the admin has mended it
  where it was given.
* Only the files of lineages that pinkeep keeps are written, and only these options in them (G9).
"""

from __future__ import annotations

import glob
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import configobj

from certbot_pinkeep.core import options
from certbot_pinkeep.core.errors import PinkeepError
from certbot_pinkeep.storage import atomic

_PREFIX = "pinkeep_"


@dataclass(frozen=True)
class Renewal:
    """How a lineage is renewed.

    :ivar cert_path: ``live/NAME/cert.pem``
    :ivar renew_before_expiry: as it is written, e.g. ``30 days``; empty: certbot's default
    :ivar autorenew: whether certbot renews it of itself
    :ivar options: the stored options of pinkeep by their names without ``--pinkeep-``
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

    def apart(self, everywhere: str | None) -> str:
        """What keeps ``certbot renew`` from rolling it over, as a line of a file; empty: nothing.

        :param everywhere: the installer of every lineage, by ``cli.ini``
        """
        installer = everywhere or self.installer
        if installer != "pinkeep":
            return f"installer = {installer}"
        return "" if self.autorenew else "autorenew = False"


def names(config_dir: str) -> list[str]:
    """The lineages of a config dir, in the order in which certbot renews them."""
    found = glob.glob(os.path.join(glob.escape(config_dir), "renewal", "*.conf"))
    return [os.path.basename(path)[: -len(".conf")] for path in sorted(found)]


def load(config_dir: str, name: str) -> Renewal | None:
    """The renewal file of a lineage; ``None`` when there is none.

    :raises PinkeepError: when it cannot be read
    """
    path = path_of(config_dir, name)
    if not os.path.exists(path):
        return None
    try:
        content = _read(path)
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
                if item.startswith(_PREFIX) and (value := _text(parameters, item)) is not None
            },
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, SyntaxError) as error:
        raise PinkeepError(
            f"Certbot's renewal file {path} cannot be read: {error}. See 'certbot certificates'."
        ) from error


def remember(config_dir: str, name: str, installer: str, given: Mapping[str, object]) -> None:
    """Note in a lineage's renewal file that *installer* renews it, with its present key.

    :param given: options by their names without ``--pinkeep-``; those that are ``None`` are removed
    :raises PinkeepError: when the file is not one of certbot's
    :raises OSError: when it cannot be written
    """
    path = path_of(config_dir, name)
    wanted = {"installer": installer, "reuse_key": "True"} | _items(given)
    _change(path, _content(path), wanted)


def keep_key(config_dir: str, name: str) -> None:
    """Note in a lineage's renewal file that it is renewed with its present key, by the installer that
    it has.

    :raises PinkeepError: when the file is not one of certbot's
    :raises OSError: when it cannot be written
    """
    path = path_of(config_dir, name)
    content = _content(path)
    parameters = content["renewalparams"]
    remembered = {k: str(v) for k, v in parameters.items() if k.startswith(_PREFIX)}
    _change(path, content, {"reuse_key": "True"} | remembered)


def forget_unusable(config_dir: str, name: str, also: str = "") -> None:
    """Remove options from a lineage's renewal file whose values cannot be used. Certbot notes each option
    that is given at a renewal, and reads it again when the admin has mended it elsewhere.

    :param also: an option more to remove, by its name without ``--pinkeep-``
    :raises PinkeepError: when the file is not one of certbot's
    :raises OSError: when it cannot be written
    """
    path = path_of(config_dir, name)
    content = _content(path)
    parameters = content["renewalparams"]
    items = {item: _text(parameters, item) for item in parameters if item.startswith(_PREFIX)}
    values = {_option(item): value for item, value in items.items()}
    bad = {*options.unusable(values), also}
    kept = {item: str(value) for item, value in items.items() if _option(item) not in bad}
    _change(path, content, kept)


def agree(config_dir: str, name: str, settings: Mapping[str, str]) -> None:
    """Note the options of its keyring in the renewal file of a lineage that pinkeep renews.

    :param settings: by their names without ``--pinkeep-``; others that are stored are removed, but
        for the keyring
    :raises PinkeepError: when the file is not one of certbot's
    :raises OSError: when it cannot be written
    """
    path = path_of(config_dir, name)
    if not os.path.exists(path):
        return
    content = _content(path)
    parameters = content["renewalparams"]
    if _text(parameters, "installer") != "pinkeep":
        return
    keyring = _text(parameters, f"{_PREFIX}keyring")
    _change(path, content, _items({**settings, "keyring": keyring}))


def _option(item: str) -> str:
    return item.removeprefix(_PREFIX).replace("_", "-")


def _items(given: Mapping[str, object]) -> dict[str, str]:
    return {
        _PREFIX + option.replace("-", "_"): str(value)
        for option, value in given.items()
        if value is not None
    }


def _content(path: str) -> configobj.ConfigObj:
    try:
        content = _read(path)
        content["renewalparams"]
    except (configobj.ConfigObjError, KeyError) as error:
        raise PinkeepError(f"Certbot's renewal file {path} cannot be read: {error}.") from error
    return content


def _change(path: str, content: configobj.ConfigObj, wanted: Mapping[str, str]) -> None:
    """Have the file say what is wanted, and nothing else of pinkeep's options."""
    parameters = content["renewalparams"]
    gone = [item for item in parameters if item.startswith(_PREFIX) and item not in wanted]
    if not gone and all(_text(parameters, item) == value for item, value in wanted.items()):
        return
    for item in gone:
        del parameters[item]
    parameters.update(wanted)
    written = io.BytesIO()
    content.write(written)
    atomic.replace(path, written.getvalue(), os.stat(path).st_mode & 0o777)


def path_of(config_dir: str, name: str) -> str:
    """Certbot's renewal file of a lineage."""
    return os.path.join(config_dir, "renewal", f"{name}.conf")


def _read(path: str) -> configobj.ConfigObj:
    return configobj.ConfigObj(
        io.BytesIO(atomic.read(path, atomic.MEDIUM)),
        encoding="utf-8",
        default_encoding="utf-8",
        interpolation=False,
    )


def _text(parameters: Mapping[str, object], item: str) -> str | None:
    value = parameters.get(item)
    if isinstance(value, list):  # ConfigObj splits at commas
        value = ", ".join(map(str, value))
    return None if value is None or value == "None" else str(value)
