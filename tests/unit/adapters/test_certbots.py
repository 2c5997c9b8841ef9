"""Which certbot a line of cron or a timer runs, and whether that certbot loads the plugin."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from certbot_pinkeep.adapters import certbots

#: The scripts that a certbot may be, and whether its Python can be asked for the plugin.
SCRIPTS = {
    "#!{python}\n": True,
    "#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\nimport sys\n": True,
    '#!/bin/sh\nexec {python} -m certbot "$@"\n': True,
    '#!/bin/sh\nexec {folder}/real "$@"\n': True,
    '#!/bin/sh\nexec {folder}/certbot "$@"\n': False,
    "#!/bin/sh\nset -e\n": False,
    "#!/bin/sh\nexec $HOME/certbot\n": False,
    "\x7fELF": False,
}

#: Lines of cron, and the certbot that each of them renews with.
LINES = {
    "0 3 * * * root /opt/certbot/bin/certbot renew": "/opt/certbot/bin/certbot",
    "test -x /usr/bin/certbot && sleep 1 && /opt/certbot -q renew": "/opt/certbot",
    "sh -c '/opt/certbot renew'": "/opt/certbot",
    "/usr/bin/certbot certificates; /opt/other renew": "",
    "docker run certbot/certbot renew": "",
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_of_the_shell_that_becomes_a_certbot_loads_what_that_loads(
    tmp_path: Path, script: str
) -> None:
    """Pip writes such a script if the path of its environment is long; admins write their own."""
    (tmp_path / "real").write_text(f"#!{sys.executable}\n")
    path = tmp_path / "certbot"
    path.write_text(script.format(python=sys.executable, folder=tmp_path))
    assert certbots.loads_plugin(str(path)) is SCRIPTS[script]


@pytest.mark.parametrize("line", LINES)
def test_certbot_of_a_line_is_the_one_that_renews(line: str) -> None:
    """Another command of the line may name a certbot, too."""
    assert certbots._program(line) == LINES[line]
