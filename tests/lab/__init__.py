"""The test lab: a local ACME server, an Apache, an HPKP user agent and certbot itself.

The real programs, started on free loopback ports, with all their files below one folder. The
end-to-end tests and the demo are built from the same parts:

- :class:`~lab.ca.Ca` - Pebble and its DNS server
- :class:`~lab.apache.Apache` - a web server with a configuration of its own
- :class:`~lab.wget2.Wget2` - a visitor that notes pins and refuses a key that it does not know
- :class:`~lab.certbot.Certbot` - the certbot of this Python environment
- :class:`~lab.zygote.Zygote` - certbot and the plugin's command, loaded once for many runs
- :class:`~lab.namespace.Namespace` - a network and a file system in which name and mail servers run
- :mod:`lab.clients` - clients that take RSA or ECDSA certificates only
- :mod:`lab.look` - what a plain TLS or HTTP connection gets to see

A program that is missing is an error that says what to run, never a reason to skip a test.
"""

from lab.apache import Apache, VirtualHost
from lab.ca import Ca
from lab.certbot import Certbot
from lab.look import Answer, get, get_plain, served_pin, served_serial
from lab.processes import Completed, LabError
from lab.waiting import wait_for
from lab.wget2 import Visit, Wget2
from lab.zygote import Zygote

__all__ = [
    "Answer",
    "Apache",
    "Ca",
    "Certbot",
    "Completed",
    "LabError",
    "VirtualHost",
    "Visit",
    "Wget2",
    "Zygote",
    "get",
    "get_plain",
    "served_pin",
    "served_serial",
    "wait_for",
]
