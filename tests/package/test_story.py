"""The main story: three commands to a pinned site, and no habit of its admin locks a visitor out.

The site comes from ``certbot --apache`` or ``certbot --nginx``, on a fresh Debian 12 or 13.
"""

from pathlib import Path

import pytest

from package.conftest import Start
from package.site import NAME, DebianSite, cron, install, timer

PACKAGE = "python3-certbot-pinkeep"


@pytest.mark.parametrize("server", ["apache", "nginx"])
@pytest.mark.parametrize("release", ["bookworm", "trixie"])
def test_three_commands_pin_a_site_and_no_habit_locks_a_visitor_out(
    release: str, server: str, deb: Path, start: Start
) -> None:
    """A visitor who came first, and never again until now, reads every page after every step."""
    machine = start(release, site=server)
    site = DebianSite(machine)

    install(machine, deb)
    assert "includes the pins of all keyrings" in machine.run("certbot-pinkeep setup --dry-run")
    said = site.pin()
    assert "Next steps:" in said
    if server == "apache":  # nginx needs a line more, which was named
        assert f"{NAME} sends these pins now." in said
    first, key = site.header, site.key
    assert first.count("pin-sha256") == 3
    if server == "apache":  # in nginx the line of the server block decides
        assert site.header_of("foreign.test") == ""
    site.visit()
    assert "PINKEEP OK" in machine.run("certbot-pinkeep check")

    site.make_due()
    for command in (timer(machine), cron(machine)):
        site.renews(command)

    site.renews(site.expand())
    more = "--uir" if server == "apache" else "--staple-ocsp"
    site.certbot(f"enhance --{server} -n --cert-name {NAME} {more}")
    site.visit()
    assert site.header == first

    site.names.remove(f"new.{NAME}")
    site.delete()
    site.obtain()
    site.wait()
    assert site.key == key
    site.visit()
    if server == "nginx":  # the site was made anew, without the line
        site.add_line(machine.run("certbot-pinkeep setup"))
    assert site.header == first
    assert "PINKEEP OK" in machine.run("certbot-pinkeep check")

    site.make_due()
    machine.run(f"certbot-pinkeep rollover {NAME}")
    site.renews(timer(machine), key_stays=False)
    site.renews(cron(machine))
    assert site.header != first and site.header.count("pin-sha256") == 3

    said = machine.apt(f"remove {PACKAGE}")
    if server == "apache":
        assert site.header == "" and not machine.run("find /etc/apache2 -name '*pinkeep*'")
    else:  # its site has a line that needs what setup made
        assert "Run: grep -rn '[$]pinkeep_'" in said and site.header
    site.renews(timer(machine))
