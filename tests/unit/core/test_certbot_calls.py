"""What a job of certbot is, as a table: the certbot that a line runs, and whether it keeps keys."""

from __future__ import annotations

import pytest

from certbot_pinkeep.core import certbot_calls
from certbot_pinkeep.core.certbot_calls import SNAP

#: Commands, and the certbot that obtains certificates there; a ``!`` in front: it makes new keys.
COMMANDS = {
    # the verbs that obtain certificates, and others
    "certbot renew": "certbot",
    "certbot -q renew --no-random-sleep-on-renew": "certbot",
    "certbot renew -q --deploy-hook 'systemctl reload apache2; true'": "certbot",
    "certbot certonly --force-renewal -n --webroot -d a.test": "!certbot",
    "certbot certonly --reuse-key -n -d a.test": "certbot",
    "certbot -n --apache -d a.test": "!certbot",
    "certbot renew --new-key": "!certbot",
    "certbot renew --no-reuse-key": "!certbot",
    "certbot renew --dry-run": "",
    "certbot certificates": "",
    "certbot delete --cert-name a.test": "",
    "certbot --version": "",
    # its names
    "letsencrypt renew": "letsencrypt",
    "/usr/local/bin/certbot-auto renew": "/usr/local/bin/certbot-auto",
    "/opt/certbot/bin/certbot renew": "/opt/certbot/bin/certbot",
    "/opt/le/bin/python3 -m certbot renew": "/opt/le/bin/python3",
    "/opt/le/bin/python /opt/le/bin/certbot renew": "/opt/le/bin/python",
    "/snap/bin/certbot renew": SNAP,
    '/usr/bin/snap run --timer="00:00~24:00/2" certbot.renew': SNAP,
    "snap run certbot renew": SNAP,
    "snap run other.renew": "",
    # what stands in front
    "test -x /usr/bin/certbot -a \\! -d /run/systemd/system && perl -e 'sleep 9' && certbot renew": "certbot",
    "if [ -x /usr/bin/certbot ]; then /usr/bin/certbot renew; fi": "/usr/bin/certbot",
    "/usr/bin/certbot certificates; /opt/certbot renew": "/opt/certbot",
    "sudo -u root certbot renew": "certbot",
    "PATH=/opt/bin:$PATH nice -n 19 timeout -k 5 300 certbot renew": "certbot",
    "flock -n /run/le.lock -c 'certbot renew'": "certbot",
    "chronic certbot renew": "certbot",
    "sh -c '/opt/certbot renew'": "/opt/certbot",
    "bash -lc 'cd /root && certbot renew'": "certbot",
    "su - root -c 'certbot renew'": "certbot",
    "(certbot renew 2>&1 | logger)": "certbot",
    "out=$(certbot renew)": "certbot",
    "cd /root; `certbot renew`": "certbot",
    "certbot renew && certbot certonly -d a.test": "certbot !certbot",
    # no certbot of this machine, or none at all
    "docker run certbot/certbot renew": "",
    "docker exec le certbot renew": "",
    "ssh host certbot renew": "",
    "echo certbot renew": "",
    "logger -t certbot renew": "",
    "certbot-pinkeep check": "",
    "ls /etc/letsencrypt/renew": "",
    "echo 'it is certbot renew": "",
    "": "",
}

#: Lines of tables of cron, and the certbots that they run.
TABLES = {
    ("system", "0 3 * * * root certbot renew"): ["certbot"],
    ("system", "@daily root certbot renew"): ["certbot"],
    ("system", "# 0 3 * * * root certbot renew"): [],
    ("system", "MAILTO=root\n5 5 * * 1-5 root a\n5 5 * * * root certbot renew"): ["certbot"],
    ("user", "0 3 * * * certbot renew"): ["certbot"],
    ("user", "@weekly letsencrypt renew"): ["letsencrypt"],
    ("user", "0 3 * * * echo %certbot renew"): [],
    ("user", "0 3 * * * date +\\%F; certbot renew%a"): ["certbot"],
    ("user", "0 3 * * * a\n0 4 * * * certbot renew\n0 5 * * * letsencrypt renew"): [
        "certbot",
        "letsencrypt",
    ],
    ("anacron", "7 10 le certbot renew"): ["certbot"],
    ("anacron", "@monthly 10 le certbot renew"): ["certbot"],
    ("anacron", "START_HOURS_RANGE=3-22\n1 5 cron.daily run-parts /etc/cron.daily"): [],
}

START = "[Service]\nType=oneshot\nExecStart={}\n"
#: The files of a service, and its commands.
UNITS = {
    (START.format("-/usr/bin/certbot renew"),): ["/usr/bin/certbot renew"],
    (START.format("a \\\n  renew"),): ["a    renew"],
    (START.format("a"), "[Service]\nExecStart=\nExecStart=b\n"): ["b"],
    (START.format("a"), "[Service]\nExecStart=b\n"): ["a", "b"],
    (START.format("a"), "[Service]\nExecStart=\n"): [],
    (START.format("a"), "[Service]\nExecStartPost=@b\n"): ["a", "b"],
    (START.format("a"), "[Service]\n# ExecStart=b\nExecStopPost=c\n"): ["a"],
}


def certbots(command: str) -> list[str]:
    """The certbots that a command runs."""
    calls = [one for one in certbot_calls.of_shell(command) if one.is_certbot]
    return [one.program if one.keeps_key else f"!{one.program}" for one in calls]


@pytest.mark.parametrize("command", COMMANDS)
def test_certbot_of_a_command_is_the_one_that_obtains_certificates(command: str) -> None:
    """Whatever stands in front of it, and whatever else the command names."""
    assert " ".join(certbots(command)) == COMMANDS[command]


@pytest.mark.parametrize(("table", "text"), TABLES)
def test_each_line_of_a_table_counts_by_what_cron_reads(table: str, text: str) -> None:
    """Comments, settings and what cron gives to a command on its input are no commands."""
    lines = certbot_calls.of_table(text, table)
    assert [one for command, _ in lines for one in certbots(command)] == TABLES[table, text]


def test_search_path_of_a_table_holds_for_the_lines_below_it() -> None:
    """Cron reads a table from its top."""
    text = '@daily a\nPATH="/opt/bin:/bin"\n@daily b\n'
    assert [*certbot_calls.of_table(text, "user")] == [("a", ""), ("b", "/opt/bin:/bin")]


@pytest.mark.parametrize("texts", UNITS)
def test_commands_of_a_service_are_those_that_systemd_runs(texts: tuple[str, ...]) -> None:
    """An empty line takes back what stands before it."""
    assert certbot_calls.of_units(texts) == UNITS[texts]


@pytest.mark.parametrize("words", ["--config-dir /le", "--config-dir=/le"])
def test_folder_that_a_certbot_is_given_is_told(words: str) -> None:
    """A job for another folder renews none of our certificates."""
    [call] = certbot_calls.of_shell(f"certbot renew {words}")
    assert call.config_dir == "/le"
