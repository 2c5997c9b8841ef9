"""A Debian machine of its own, as an admin has it: its packages, its Apache, its certbot, its CA.

It is a chroot in namespaces of its own. What it is made from is kept in ``.dev/machines``; what a test
changes goes when the test ends. Root, ``debootstrap`` and the network are needed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
MACHINES = ROOT / ".dev/machines"
#: What is there before anything is installed: ./dev asks for git and python3.
MINIMAL = "ca-certificates,git,python3"
#: A site as ``certbot --apache`` and ``certbot --nginx`` find it.
SERVERS = {
    "apache": "apache2 python3-certbot-apache",
    "nginx": "nginx python3-certbot-nginx",
}
#: What else an admin has, and the CA and the client that judge.
SITE = "bash-completion certbot curl man-db openssl pebble wget2"
MIRROR = "http://deb.debian.org/debian"
ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "TERM": "dumb",
}

# What ends with the test is all that the machine runs, whatever the test ends by.
OWN = (
    "setpriv --pdeathsig=KILL "
    "unshare --mount --net --uts --ipc --pid --kill-child --propagation=private"
)
# The folders of the machine are mounted where nobody else sees them, and are gone with its first process.
START = """\
set -eu
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
mount -t proc proc "$2/root/proc"
mount --rbind /dev "$2/root/dev"
ip link set lo up
hostname machine
exec chroot "$2/root" sh -c "echo ready; exec sleep infinity"
"""

# As init does after a start, for the two servers of the CA.
CA = """\
set -eu
echo 127.0.0.1 localhost machine >>/etc/hosts
mkdir /ca
cd /ca
openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -days 30 \
    -out /usr/local/share/ca-certificates/ca.crt \
    -subj /CN=localhost -addext subjectAltName=DNS:localhost 2>openssl.log
update-ca-certificates >update.log 2>&1
cat >pebble.json <<END
{"pebble": {"listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000",
 "certificate": "/usr/local/share/ca-certificates/ca.crt", "privateKey": "/ca/key.pem",
 "httpPort": 80, "tlsPort": 443, "ocspResponderURL": "", "externalAccountBindingRequired": false}}
END
export PEBBLE_VA_NOSLEEP=1 PEBBLE_WFE_NONCEREJECT=0
setsid pebble-challtestsrv -http01 "" -https01 "" -tlsalpn01 "" -dns01 127.0.0.1:8053 \
    -management 127.0.0.1:8055 -defaultIPv4 127.0.0.1 -defaultIPv6 "" >dns.log 2>&1 </dev/null &
setsid pebble -config pebble.json -dnsserver 127.0.0.1:8053 >pebble.log 2>&1 </dev/null &
curl --silent --show-error --retry 50 --retry-connrefused --retry-delay 1 --output root.pem https://localhost:15000/roots/0
mv root.pem /usr/local/share/ca-certificates/root.crt
update-ca-certificates >update.log 2>&1
cat >>/etc/letsencrypt/cli.ini <<END
server = https://localhost:14000/dir
END
"""


class Failed(AssertionError):
    """A command of the machine ended with another exit code than 0; the text is all that it said."""


class DebianMachine:
    """A machine with the Debian ``release``, as a context manager.

    :param release: ``bookworm`` or ``trixie``
    :param site: with this web server, certbot, and a CA beside it; empty: with nothing
    """

    def __init__(self, release: str, folder: Path, *, site: str = "apache") -> None:
        self.release = release
        self.server = site
        _require()
        self._base = _base(release, site=site)
        self._folder = folder
        self._site = site

    def __enter__(self) -> DebianMachine:
        for name in ("upper", "work", "root"):
            (self._folder / name).mkdir(parents=True)
        self._first = subprocess.Popen(
            [*OWN.split(), "sh", "-c", START, "sh", str(self._base), str(self._folder)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._first.stdout
        if self._first.stdout.readline() != "ready\n":
            raise Failed("No machine could be started: see above what unshare or mount said.")
        children = Path(f"/proc/{self._first.pid}/task/{self._first.pid}/children")
        self._pid = children.read_text().split()[0]
        if self._site:
            self.run(CA)
        return self

    def __exit__(self, *error: object) -> None:
        self._first.kill()
        self._first.wait()
        shutil.rmtree(self._folder)

    def run(self, command: str, *, network: bool = False, expect: int = 0) -> str:
        """Run a shell command as root, and return what it printed, errors included.

        :param network: reach the world outside, and nothing in the machine
        """
        enter = [
            "nsenter",
            "--target",
            self._pid,
            "--mount",
            "--uts",
            "--ipc",
            "--pid",
            "--root",
            "--wd",
        ]
        done = subprocess.run(
            [*enter, *([] if network else ["--net"]), "bash", "-c", command],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != expect:
            raise Failed(f"{command}\n[exit {done.returncode}]\n{done.stdout}")
        return done.stdout

    def apt(self, command: str) -> str:
        """Run ``apt-get`` with the world's mirrors."""
        return self.run(f"apt-get -q -y {command}", network=True)

    def put(self, source: Path, path: str) -> None:
        """Copy a file or a folder of this machine into the other."""
        subprocess.run(["cp", "-a", str(source), self.path(path)], check=True)

    def path(self, path: str) -> str:
        """Where a path of the machine is seen from outside."""
        return f"/proc/{self._pid}/root{path}"

    def read(self, path: str) -> str:
        """Read a file."""
        return Path(self.path(path)).read_text()

    def write(self, path: str, text: str) -> None:
        """Write a file."""
        Path(self.path(path)).write_text(text)


def _base(release: str, *, site: str) -> Path:
    """Make what machines of a release start from, unless it is there."""
    base = MACHINES / (f"{release}-{site}" if site else release)
    if not base.exists():
        making = base.with_suffix(".making")
        shutil.rmtree(making, ignore_errors=True)
        MACHINES.mkdir(parents=True, exist_ok=True)
        if site:
            _say(["cp", "-a", str(_base(release, site="")), str(making)])
            _say(["chroot", str(making), "apt-get", "-q", "update"])
            _say(
                [
                    "chroot",
                    str(making),
                    *shlex.split("apt-get -q -y --no-install-recommends install"),
                    *f"{SERVERS[site]} {SITE}".split(),
                ]
            )
        else:
            include = f"--include={MINIMAL}"
            _say(["debootstrap", "--variant=minbase", include, release, str(making), MIRROR])
            _configure(making)
        making.rename(base)
    return base


def _configure(making: Path) -> None:
    """Let apt reach the mirror as it does here, and let no package start a service."""
    shown = subprocess.run(
        ["apt-config", "dump", "Acquire"], check=True, stdout=subprocess.PIPE, text=True
    )
    wanted = ("Acquire::http", "Acquire::Check", "Acquire::Force")
    lines = [line for line in shown.stdout.splitlines(keepends=True) if line.startswith(wanted)]
    (making / "etc/apt/apt.conf.d/90outside").write_text("".join(lines))
    policy = making / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)


def _say(command: list[str]) -> None:
    done = subprocess.run(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise Failed(f"{shlex.join(command)}\n[exit {done.returncode}]\n{done.stdout[-4000:]}")


def _require() -> None:
    if os.geteuid() != 0:
        raise Failed(
            "These tests make machines, and need root.\nRun: sudo ./dev test -e debian-package"
        )
    if not shutil.which("debootstrap"):
        raise Failed("These tests need debootstrap.\nRun: apt-get install debootstrap")
