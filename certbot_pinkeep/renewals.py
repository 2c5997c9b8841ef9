"""Reading certbot's renewal files, ``renewal/NAME.conf``. Nothing here writes them (G9)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import configobj

from certbot_pinkeep.errors import PinkeepError

_PREFIX = "pinkeep_"


@dataclass(frozen=True)
class Renewal:
    """How a lineage is renewed.

    :ivar cert_path: ``live/NAME/cert.pem``
    :ivar options: the stored options of pinkeep by their names without ``--pinkeep-``
    """

    name: str
    cert_path: str
    key_path: str
    installer: str | None
    reuse_key: bool
    must_staple: bool
    deploy_hook: str
    options: Mapping[str, str] = field(default_factory=dict)


def load(config_dir: str, name: str) -> Renewal | None:
    """The renewal file of a lineage; ``None`` when there is none.

    :raises PinkeepError: when it cannot be read
    """
    path = os.path.join(config_dir, "renewal", f"{name}.conf")
    if not os.path.exists(path):
        return None
    try:
        content = configobj.ConfigObj(path, encoding="utf-8", default_encoding="utf-8")
        parameters = content["renewalparams"]
        return Renewal(
            name=name,
            cert_path=content["cert"],
            key_path=content["privkey"],
            installer=_text(parameters, "installer"),
            reuse_key=_text(parameters, "reuse_key") == "True",
            must_staple=_text(parameters, "must_staple") == "True",
            deploy_hook=_text(parameters, "renew_hook") or _text(parameters, "deploy_hook") or "",
            options={
                item.removeprefix(_PREFIX).replace("_", "-"): value
                for item in parameters
                if item.startswith(_PREFIX) and (value := _text(parameters, item)) is not None
            },
        )
    except (configobj.ConfigObjError, KeyError, OSError) as error:
        raise PinkeepError(
            f"Certbot's renewal file {path} cannot be read: {error}. See 'certbot certificates'."
        ) from error


def _text(parameters: Mapping[str, object], item: str) -> str | None:
    value = parameters.get(item)
    if isinstance(value, list):  # ConfigObj splits at commas
        value = ", ".join(map(str, value))
    return None if value is None or value == "None" else str(value)
