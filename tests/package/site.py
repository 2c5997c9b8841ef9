"""A site that ``certbot --apache`` or ``certbot --nginx`` made, as its admin, timer and visitors see it."""

from __future__ import annotations

import re
from pathlib import Path

from package.machine import DebianMachine

NAME = "example.test"
LIVE = f"/etc/letsencrypt/live/{NAME}"
RENEWAL = f"/etc/letsencrypt/renewal/{NAME}.conf"
#: Two visitors: one comes each time, and one came once and remembers the first pins.
REGULAR, ONCE = "/root/regular", "/root/once"
VISIT = "wget2 --no-hsts --hpkp --hpkp-file={} --tries=1 -O /dev/null https://{}/"
#: The file of the site, and the one that certbot makes of it.
FILES = {
    "apache": ("/etc/apache2/sites-available/000-default.conf",),
    "nginx": ("/etc/nginx/sites-available/default",),
}


class DebianSite:
    """The site of one machine."""

    def __init__(self, machine: DebianMachine) -> None:
        self.machine = machine
        self.server = machine.server
        self.names = [NAME]
        machine.run(f"echo 127.0.0.1 {NAME} new.{NAME} >>/etc/hosts")
        if self.server == "apache":
            machine.run(f"sed -i 's/#ServerName.*/ServerName {NAME}/' {FILES['apache'][0]}")
        else:
            machine.run(f"sed -i 's/server_name _;/server_name {NAME};/' {FILES['nginx'][0]}")
        self.start()
        self.machine.run(f"cp -a {FILES[self.server][0]} /root/site")
        self.obtain("--agree-tos --register-unsafely-without-email")

    def start(self) -> None:
        """Do what init does with the server after a start of the machine."""
        if self.server == "apache":
            gone = "while [ -e /run/apache2/apache2.pid ]; do sleep 0.1; done"
            # Its file goes before it gives the ports back.
            there = "until apache2ctl start; do sleep 0.1; done"
            self.machine.run(f"apache2ctl stop; timeout 30 sh -c '{gone}; {there}'")
        else:
            self.machine.run("nginx")
        self.machine.run("curl -s --retry 20 --retry-connrefused http://localhost/")

    def certbot(self, arguments: str) -> str:
        """Run certbot as a person does: by its name."""
        return self.machine.run(f"certbot {arguments}")

    def obtain(self, more: str = "") -> None:
        """Have a site with TLS made as most are made."""
        self.certbot(f"--{self.server} -n -d {NAME} --redirect --hsts {more}")

    def expand(self) -> str:
        """Give the site another name, and return the command by which its admin has it in the certificate."""
        new = f"new.{NAME}"
        if self.server == "apache":
            files = "/etc/apache2/sites-available/000-default*.conf"
            self.machine.run(f"sed -i '/ServerName {NAME}/a ServerAlias {new}' {files}")
            # Augeas compares whole seconds: if the file changed in the same second, certbot's plugin misses
            # its own change.
            self.machine.run(f"touch -d '1 minute ago' {files}")
        else:
            self.machine.run(f"sed -i 's/server_name {NAME}/& {new}/' {FILES['nginx'][0]}")
        self.names.append(new)
        return f"certbot --{self.server} -n --expand -d {NAME} -d {new} --redirect"

    def delete(self) -> None:
        """Delete the certificate, and what the server has of it, as certbot's manual says."""
        if self.server == "apache":
            self.machine.run(
                "a2dissite -q 000-default-le-ssl && rm /etc/apache2/sites-available/*-le-ssl.conf"
            )
        self.machine.run(f"cp -a /root/site {FILES[self.server][0]}")
        self.certbot(f"delete -n --cert-name {NAME}")

    def pin(self, *, installer: bool = False) -> str:
        """Bring the site to its pins, and return what is said.

        :param installer: with pinkeep as the certificate's installer
        """
        self.machine.run("certbot-pinkeep setup")
        if installer:
            options = "--installer pinkeep --pinkeep-max-age 86400"
            return self.certbot(f"renew --no-random-sleep-on-renew {options}")
        said = self.machine.run(f"certbot-pinkeep pin {NAME}")
        if self.server == "nginx":
            self.add_line(said)
        return said

    def add_line(self, said: str) -> None:
        """Run the command that adds the line for the pins to nginx's site."""
        (command,) = re.findall("(?m)^ *Run: (sed .*)$", said)
        self.machine.run(command)
        sends = f"curl -s --head https://{NAME}/ | grep -qi ^public-key-pins:"
        self.machine.run(f"for i in $(seq 100); do {sends} && exit; sleep 0.1; done; exit 1")

    def make_due(self) -> None:
        """Make the certificate due at each ``certbot renew``, by certbot's own option."""
        renewal = self.machine.read(RENEWAL)
        due = "renew_before_expiry = 9999 days"
        self.machine.write(RENEWAL, re.sub("(?m)^(# )?renew_before_expiry.*", due, renewal))

    @property
    def serial(self) -> str:
        """The certificate that the server serves."""
        ask = f"openssl s_client -connect localhost:443 -servername {NAME} </dev/null 2>/dev/null"
        return self.machine.run(f"{ask} | openssl x509 -noout -serial")

    @property
    def key(self) -> str:
        """The key that the server serves."""
        ask = f"openssl s_client -connect localhost:443 -servername {NAME} </dev/null 2>/dev/null"
        return self.machine.run(f"{ask} | openssl x509 -noout -pubkey")

    @property
    def header(self) -> str:
        """The header that the server sends."""
        return self.header_of(NAME)

    def header_of(self, host: str) -> str:
        """The header that the server sends for a host, whether the host is one of the site's or not."""
        here = f"--insecure --resolve {host}:443:127.0.0.1"
        said = self.machine.run(f"curl -s --head {here} https://{host}/")
        return "\n".join(re.findall("(?i)^public-key-pins: (.*)$", said, re.MULTILINE))

    def visit(self) -> None:
        """Let the visitors who note pins read the pages; fails when one of them refuses the site."""
        self.machine.run(VISIT.format(REGULAR, NAME))
        self.machine.run(f"[ -e {ONCE} ] || cp {REGULAR} {ONCE}; grep {NAME} {ONCE}")
        for name in self.names:
            self.machine.run(f"cp {ONCE} {ONCE}.now; {VISIT.format(f'{ONCE}.now', name)}")

    def renews(self, command: str, *, key_stays: bool = True) -> str:
        """Check that a command renews the certificate, loads it, and locks out no visitor.

        :param key_stays: whether it is for the same key, or for another
        :returns: what it said
        """
        serial, key = self.serial, self.key
        said = self.machine.run(command)
        self.wait()
        assert self.serial != serial, f"{command} did not renew, or nobody loaded it:\n{said}"
        assert (self.key == key) is key_stays, f"{command}:\n{said}"
        self.visit()
        return said

    def wait(self) -> None:
        """Wait until the server serves what is live: a graceful restart takes a moment."""
        ask = f"openssl s_client -connect localhost:443 -servername {NAME} </dev/null 2>/dev/null"
        live = f"openssl x509 -noout -serial -in {LIVE}/cert.pem"
        loaded = f'[ "$({ask} | openssl x509 -noout -serial)" = "$({live})" ]'
        self.machine.run(f"for i in $(seq 100); do {loaded} && exit; sleep 0.1; done; exit 1")


def timer(machine: DebianMachine) -> str:
    """The line that ``certbot.timer`` runs."""
    unit = machine.run("cat /lib/systemd/system/certbot.service")
    return str(re.findall("(?m)^ExecStart=(.*)$", unit)[0])


def cron(machine: DebianMachine) -> str:
    """The line that cron runs, without the hours for which it waits."""
    lines = machine.read("/etc/cron.d/certbot").splitlines()
    command = lines[-1].split("root", 1)[1]
    return command.replace("sleep int(rand(43200))", "1")


def install(machine: DebianMachine, deb: Path) -> None:
    """Install the package as an admin does."""
    machine.put(deb, "/root/")
    machine.apt(f"install /root/{deb.name}")
