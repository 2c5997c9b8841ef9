"""The main job, step by step, with the real parts: a CA, certbot, Apache and a visitor that pins.

Every step is checked; the exit code is 0 only if all held. Nothing is left running.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from lab import Apache, Ca, Certbot, LabError, VirtualHost, Wget2

NAME = "www.pin.test"


class Failed(Exception):
    """A step that did not hold."""


class Demo:
    """The site, its admin and its visitor."""

    def __init__(self, folder: Path, ca: Ca) -> None:
        self.certbot = Certbot(folder / "certbot", ca)
        self.snippet = self.certbot.config_dir / "pinkeep" / "apache" / f"{NAME}.conf"
        self.visitor = Wget2(folder / "visitor", ca.root(), [NAME])

    def run(self, folder: Path) -> None:
        """All steps."""
        say("A certificate from a local CA (Pebble), by plain certbot")
        self.certbot.certonly("-d", NAME).check()
        with Apache(
            folder / "apache", [VirtualHost((NAME,), (self.certbot.live(NAME),), self.snippet)]
        ) as site:
            pin = site.served_pin(NAME)
            tell(f"Apache serves the key {short(pin)}", site.get(NAME).pins == [])
            self.adopt(site, pin)
            self.renew(site, pin)
            for _ in range(2):
                pin = self.exchange(site, pin)
            self.refuse(site, pin)
            self.renew_past(site, pin)
            self.mend(site, pin)

    def adopt(self, site: Apache, pin: str) -> None:
        """The first run of the plugin."""
        say("certbot renew --installer pinkeep: nothing is due, the key is adopted")
        with site.reloading():
            self.certbot.renew(
                "--installer=pinkeep",
                f"--pinkeep-configtest-command={site.configtest_command}",
                f"--pinkeep-reload-command={site.reload_command}",
            ).check()
        tell("the key is the same", site.served_pin(NAME) == pin)
        headers = site.get(NAME).pins
        tell(
            "one header goes out over TLS, also on errors",
            len(headers) == 1 and site.get(NAME, "/missing").pins == headers,
        )
        tell("none over plain HTTP", site.get_plain(NAME).pins == [])
        for directive in headers[0].split("; "):
            print(f"        {directive}")
        tell(
            "it lists the key and two backups",
            headers[0].count("pin-sha256") == 3 and pin in headers[0],
        )
        self.visit("wget2 visits and notes the pins", site, accepted=True)

    def renew(self, site: Apache, pin: str) -> None:
        """Three renewals."""
        for number in range(1, 4):
            say(f"certbot renew --force-renewal, renewal {number} of 3")
            serial = site.served_serial(NAME)
            with site.reloading():
                self.certbot.renew("--force-renewal").check()
            tell(
                "a new certificate, the same key",
                site.served_serial(NAME) != serial and site.served_pin(NAME) == pin,
            )
            self.visit("wget2 comes back and is served", site, accepted=True)

    def exchange(self, site: Apache, pin: str) -> str:
        """A rollover, to a key that the visitor knows already; return its pin."""
        say("certbot-pinkeep rollover --now: the key is rolled over to the first backup")
        pins = site.get(NAME).pins
        with site.reloading():
            self.certbot.pinkeep("rollover", NAME, "--now").check()
        new = site.served_pin(NAME)
        tell(f"Apache serves the key {short(new)}, pinned before", new != pin and new in pins[0])
        headers = site.get(NAME).pins
        tell(
            "the old key has left the pins, a new backup is there",
            headers[0].count("pin-sha256") == 3 and pin not in headers[0],
        )
        self.visit("wget2 comes back and is served", site, accepted=True)
        return new

    def refuse(self, site: Apache, pin: str) -> None:
        """A rollover that would lock somebody out."""
        say("A third one at once: the next backup is in none of the pins that were served first")
        refused = self.certbot.pinkeep("rollover", NAME, "--now")
        tell(
            "it is refused, with the time from which nobody is locked out",
            refused.returncode == 1 and "The new key is safe from" in refused.stderr,
        )
        tell("the key is the same", site.served_pin(NAME) == pin)

    def renew_past(self, site: Apache, pin: str) -> None:
        """The counter-proof: what happens without the plugin."""
        say("The counter-proof: a certbot without the plugin renews, with a new key")
        self.certbot.renew_without_plugin("--no-reuse-key").check()
        site.reload()
        tell("the key is another one", site.served_pin(NAME) != pin)
        self.visit("wget2 comes back and REFUSES the site", site, accepted=False)
        noticed = self.certbot.renew(*self.options(site))
        tell(
            "the next certbot renew fails and names the mending command",
            noticed.returncode != 0 and "--force-renewal --installer pinkeep" in noticed.output,
        )

    def mend(self, site: Apache, pin: str) -> None:
        """The way back."""
        say("The mending renewal: certbot renew --force-renewal --installer pinkeep")
        with site.reloading():
            self.certbot.renew("--cert-name", NAME, "--force-renewal", *self.options(site)).check()
        tell(f"Apache serves the key {short(pin)} again", site.served_pin(NAME) == pin)
        self.visit("wget2 comes back and is served", site, accepted=True)

    def options(self, site: Apache) -> list[str]:
        """The plugin and its commands, which the renewal past it made certbot forget."""
        return [
            "--installer=pinkeep",
            f"--pinkeep-configtest-command={site.configtest_command}",
            f"--pinkeep-reload-command={site.reload_command}",
        ]

    def visit(self, what: str, site: Apache, *, accepted: bool) -> None:
        """A visit, which is to end as said."""
        visit = self.visitor.visit(site.url(NAME))
        tell(what, visit.accepted if accepted else visit.mismatch)


def short(pin: str) -> str:
    """A pin's beginning, enough to tell it from others."""
    return f"{pin[:10]}…"


def say(what: str) -> None:
    """Announce a step."""
    print(f"\n  {what}", flush=True)


def tell(what: str, held: bool) -> None:
    """Print a check's outcome; the first one that fails ends the demo."""
    print(f"    {'✓' if held else '✗'} {what}", flush=True)
    if not held:
        raise Failed(what)


def main() -> int:
    """Run the demo in a new folder, which stays for a look."""
    folder = Path(tempfile.mkdtemp(prefix="pinkeep-demo-"))
    print("certbot-pinkeep: the key stays, and so do the clients")
    try:
        with Ca(folder / "ca") as ca:
            demo = Demo(folder, ca)
            demo.run(folder)
    except (Failed, LabError) as error:
        print(f"\nThe demo FAILED: {error}\nWhere to look: {folder}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nInterrupted. Where to look: {folder}", file=sys.stderr)
        return 130
    print(f"""
All held. Where to look:
  the snippet     {demo.snippet}
  the keyring     {demo.certbot.config_dir / "pinkeep" / f"{NAME}.conf"}
  the saved CSRs  {demo.certbot.config_dir / "csr"}
  certbot's log   {demo.certbot.log}""")
    return 0


if __name__ == "__main__":
    sys.exit(main())
