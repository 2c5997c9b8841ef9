"""The plugin in a certbot that was called with given words."""

from __future__ import annotations

import argparse
from types import SimpleNamespace
from typing import Any

from certbot import configuration

from certbot_pinkeep.core import options
from certbot_pinkeep.installer import Installer
from simulated.machine import Machine, Site


def parser() -> argparse.ArgumentParser:
    """A parser with the plugin's options, as certbot adds them."""
    found = argparse.ArgumentParser()
    Installer.inject_parser_options(found, "pinkeep")
    return found


def plugin(site: Site, verb: str = "renew", *words: str, **values: object) -> Installer:
    """The plugin in a certbot that was called so."""
    commands = {
        "--pinkeep-configtest-command": site.apache.configtest[0],
        "--pinkeep-reload-command": site.apache.reload[0],
    }
    given = [word for pair in commands.items() for word in pair]
    namespace = parser().parse_args([*given, *words])
    others = {
        "config_dir": str(site.config),
        "work_dir": str(site.work),
        "logs_dir": str(site.work),
        "http01_port": 80,
        "https_port": 443,
        "verb": verb,
        "installer": "pinkeep",
        "domains": [],
        "certname": site.name,
        "dry_run": False,
        "new_key": False,
        "reuse_key": False,
        "must_staple": False,
        "key_type": "ecdsa",
    }
    for name, value in {**others, **values}.items():
        setattr(namespace, name, value)
    return Installer(configuration.NamespaceConfig(namespace), "pinkeep")


def lineage(site: Site) -> Any:
    """What certbot passes for a lineage."""
    live = site.config / "live" / site.name
    return SimpleNamespace(
        lineagename=site.name,
        cert_path=str(live / "cert.pem"),
        key_path=str(live / "privkey.pem"),
    )


def config(machine: Machine, **given: object) -> Any:
    """Certbot's configuration in a run of ``certbot renew`` with another installer."""
    found: dict[str, object] = {
        "config_dir": str(machine.config),
        "work_dir": str(machine.work),
        "live_dir": str(machine.config / "live"),
        "renewal_configs_dir": str(machine.config / "renewal"),
        "certname": None,
        "domains": [],
        "must_staple": False,
        "dry_run": False,
        "verb": "renew",
        "installer": "apache",
        "csr": None,
        "disable_renew_updates": False,
        "key_type": "ecdsa",
    }
    found |= {options.destination(option): None for option in options.OPTIONS}
    return SimpleNamespace(**{**found, **given})
