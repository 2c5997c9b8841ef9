"""The package on Debian 12 and 13, from a site of ``certbot --apache`` to a machine without the package.

The judges are Debian's own certbot and Apache, Pebble, and one visitor (wget2) who notes the first pins.
"""

from pathlib import Path

import pytest

from package.conftest import Start
from package.machine import DebianMachine
from package.site import NAME, RENEWAL, DebianSite, cron, install, timer

RELEASES = ("bookworm", "trixie")
PACKAGE = "python3-certbot-pinkeep"
#: What a person types, without the wait of a certbot that no person sees.
RENEW = "certbot renew --no-random-sleep-on-renew"
KEPT = "find /etc/letsencrypt/keys /etc/letsencrypt/csr /etc/letsencrypt/pinkeep | sort"


@pytest.mark.parametrize("release", RELEASES)
def test_what_calls_debians_certbot_has_the_plugin_until_the_package_goes(
    release: str, deb: Path, start: Start
) -> None:
    """Fingers, timer and cron renew with the plugin; without the package they renew with the same key."""
    machine = start(release)
    site = DebianSite(machine)
    install(machine, deb)
    assert "* pinkeep" in site.certbot("plugins")
    assert machine.run("certbot-pinkeep --version").startswith("certbot-pinkeep 0.")
    assert "No keyring yet" in machine.run("certbot-pinkeep status")
    assert "CERTBOT-PINKEEP(1)" in machine.run("man certbot-pinkeep")
    assert completions(machine, "certbot-pinkeep st") == ["status"]

    site.pin()
    first = site.header
    assert first.count("pin-sha256") == 3
    site.visit()
    site.make_due()
    for command in (RENEW, timer(machine), cron(machine)):
        site.renews(command)

    said = machine.apt(f"remove {PACKAGE}")
    assert "reuse-key = true" in said
    for command in (RENEW, timer(machine), cron(machine)):
        site.renews(command)
    assert site.header == ""
    kept = machine.run(KEPT)
    said = machine.apt(f"purge {PACKAGE}")
    assert "/etc/letsencrypt/keys" in said
    assert machine.run(KEPT) == kept
    site.renews(timer(machine))

    install(machine, deb)
    assert NAME in machine.run("certbot-pinkeep status")
    machine.run("certbot-pinkeep setup")
    site.renews(timer(machine))
    assert site.header == first


@pytest.mark.parametrize("release", RELEASES)
def test_removal_takes_out_what_would_stop_a_certbot_without_the_plugin(
    release: str, deb: Path, start: Start
) -> None:
    """Renewal files and cli.ini lose what only the plugin understands, and nothing else."""
    machine = start(release)
    site = DebianSite(machine)
    install(machine, deb)
    site.pin(installer=True)
    site.visit()
    site.make_due()
    ini = machine.read("/etc/letsencrypt/cli.ini")
    machine.write(
        "/etc/letsencrypt/cli.ini", f"{ini}installer = pinkeep\npinkeep-max-age = 86400\n"
    )
    site.renews(timer(machine))
    before = machine.read(RENEWAL).splitlines()
    assert "installer = pinkeep" in before

    said = machine.apt(f"remove {PACKAGE}")
    assert RENEWAL in said and "cli.ini" in said
    after = machine.read(RENEWAL).splitlines()
    assert [line for line in before if "pinkeep" not in line] == [
        line for line in after if not line.startswith("renew_hook")
    ]
    assert "reuse_key = True" in after
    assert machine.read("/etc/letsencrypt/cli.ini") == (
        f"{ini}# {PACKAGE} was removed: installer = pinkeep\n"
        f"# {PACKAGE} was removed: pinkeep-max-age = 86400\n"
    )
    site.renews(timer(machine))
    site.renews(cron(machine))


def test_an_upgrade_of_debian_takes_the_package_along(deb: Path, start: Start) -> None:
    """After an upgrade from 12 to 13 the same package is there, and renews, with nothing to do."""
    machine = start("bookworm")
    site = DebianSite(machine)
    install(machine, deb)
    site.pin()
    site.visit()
    site.make_due()
    status = machine.run("certbot-pinkeep status --json")

    machine.run("sed -i s/bookworm/trixie/ /etc/apt/sources.list")
    machine.apt("update")
    machine.apt("-o Dpkg::Options::=--force-confold upgrade --without-new-pkgs")
    machine.apt("-o Dpkg::Options::=--force-confold full-upgrade")
    assert machine.run("cat /etc/debian_version").startswith("13")
    site.start()

    assert machine.run(f"dpkg-query -W -f '${{db:Status-Status}}' {PACKAGE}") == "installed"
    assert "* pinkeep" in site.certbot("plugins")
    assert machine.run("certbot-pinkeep status --json") == status
    site.visit()
    site.renews(timer(machine))
    site.renews(cron(machine))


def completions(machine: DebianMachine, line: str) -> list[str]:
    """What bash offers for a line when Tab is pressed."""
    words = line.split()
    return machine.run(
        ". /usr/share/bash-completion/bash_completion; "
        f"_completion_loader {words[0]} 2>/dev/null || __load_completion {words[0]}; "
        f"COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; "
        "COMP_TYPE=9; _python_argcomplete certbot-pinkeep; printf '%s\\n' \"${COMPREPLY[@]}\""
    ).split()
