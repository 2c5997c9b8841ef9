"""A site that ``certbot --apache`` made, as its admin, its timer and its visitor see it."""

from __future__ import annotations

import re
from pathlib import Path

from package.machine import Machine

NAME = "example.test"
LIVE = f"/etc/letsencrypt/live/{NAME}"
RENEWAL = f"/etc/letsencrypt/renewal/{NAME}.conf"
VISIT = "wget2 --no-hsts --hpkp --hpkp-file=/root/visitor --tries=1 -O /dev/null"


class Site:
    """The site of one machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        machine.run(f"echo 127.0.0.1 {NAME} >>/etc/hosts")
        vhost = "/etc/apache2/sites-available/000-default.conf"
        machine.run(f"sed -i 's/#ServerName.*/ServerName {NAME}/' {vhost}")
        self.start_apache()
        self.certbot(
            f"--apache -n --agree-tos --register-unsafely-without-email -d {NAME} --redirect --hsts"
        )

    def start_apache(self) -> None:
        """Do what init does with Apache after a start of the machine."""
        gone = "while [ -e /run/apache2/apache2.pid ]; do sleep 0.1; done"
        self.machine.run(f"apache2ctl stop; timeout 30 sh -c '{gone}' && apache2ctl start")
        self.machine.run("curl -s --retry 20 --retry-connrefused http://localhost/")

    def certbot(self, arguments: str) -> str:
        """Run certbot as a person does: by its name."""
        return self.machine.run(f"certbot {arguments}")

    def pin(self, *, installer: bool = False) -> None:
        """Bring the site from ``certbot --apache`` to its pins.

        :param installer: with pinkeep as the certificate's installer
        """
        if installer:
            self.certbot(
                "renew --no-random-sleep-on-renew --installer pinkeep --pinkeep-max-age 86400"
            )
        else:
            self.machine.run(f"certbot-pinkeep pin {NAME}")
        vhost = "/etc/apache2/sites-available/000-default-le-ssl.conf"
        snippet = f"/etc/letsencrypt/pinkeep/apache/{NAME}.conf"
        self.machine.run(f"sed -i '/<.VirtualHost>/i IncludeOptional {snippet}' {vhost}")
        self.machine.run("a2enmod -q headers && apache2ctl graceful")
        self.machine.run(f"certbot-pinkeep confirm {NAME}")

    def make_due(self) -> None:
        """Make the certificate due at each ``certbot renew``, by certbot's own option."""
        renewal = self.machine.read(RENEWAL)
        due = "renew_before_expiry = 9999 days"
        self.machine.write(RENEWAL, re.sub("(?m)^(# )?renew_before_expiry.*", due, renewal))

    @property
    def serial(self) -> str:
        """The certificate that Apache serves."""
        ask = f"openssl s_client -connect localhost:443 -servername {NAME} </dev/null 2>/dev/null"
        return self.machine.run(f"{ask} | openssl x509 -noout -serial")

    @property
    def key(self) -> str:
        """The key that Apache serves."""
        ask = f"openssl s_client -connect localhost:443 -servername {NAME} </dev/null 2>/dev/null"
        return self.machine.run(f"{ask} | openssl x509 -noout -pubkey")

    @property
    def header(self) -> str:
        """The header that Apache sends."""
        said = self.machine.run(f"curl -s --head https://{NAME}/")
        return "\n".join(re.findall("(?i)^public-key-pins: (.*)$", said, re.MULTILINE))

    def visit(self) -> None:
        """Let the visitor who notes pins read the page; fails when it refuses the site."""
        self.machine.run(f"{VISIT} https://{NAME}/")

    def renews(self, command: str) -> None:
        """Check that a command renews the certificate with its key, loads it, and locks out no visitor."""
        serial, key = self.serial, self.key
        said = self.machine.run(command)
        self.machine.run(
            f"for i in $(seq 100); do {self._loaded()} && exit; sleep 0.1; done; exit 1"
        )
        assert self.serial != serial, f"{command} did not renew, or Apache did not load:\n{said}"
        assert self.key == key
        self.visit()

    def _loaded(self) -> str:
        """A graceful restart takes a moment: a test of whether Apache serves what is live."""
        ask = f"openssl s_client -connect localhost:443 -servername {NAME} </dev/null 2>/dev/null"
        live = f"openssl x509 -noout -serial -in {LIVE}/cert.pem"
        return f'[ "$({ask} | openssl x509 -noout -serial)" = "$({live})" ]'


def timer(machine: Machine) -> str:
    """The line that ``certbot.timer`` runs."""
    unit = machine.run("cat /lib/systemd/system/certbot.service")
    return str(re.findall("(?m)^ExecStart=(.*)$", unit)[0])


def cron(machine: Machine) -> str:
    """The line that cron runs, without the hours for which it waits."""
    lines = machine.read("/etc/cron.d/certbot").splitlines()
    command = lines[-1].split("root", 1)[1]
    return command.replace("sleep int(rand(43200))", "1")


def install(machine: Machine, deb: Path) -> None:
    """Install the package as an admin does."""
    machine.put(deb, "/root/")
    machine.apt(f"install /root/{deb.name}")
