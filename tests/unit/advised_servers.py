"""What is said of web servers and of what sites send: rows for ``test_advice_followed.py``."""

from __future__ import annotations

from followed import Row, done, gone, of, sound

from simulated import states
from simulated.server import Said, Server

RENEW, CHECK = "certbot renew", "certbot-pinkeep check"
SETUP, PIN = "certbot-pinkeep setup", "certbot-pinkeep pin"


def found(server: Server, said: Said) -> None:
    """The check tells what is wrong at the host."""
    assert said.code == 2 and "b.test" in said.out, "it finds nothing"


ROWS = [
    *of(
        "check/server_rules",
        CHECK,
        Row(states.unprepared, "Run: certbot-pinkeep setup", SETUP, gone),
        Row(states.without_mod_headers, "Run: certbot-pinkeep setup", SETUP, sound),
    ),
    *of(
        "check/header_rules",
        CHECK,
        Row(
            states.moved_but_not_included,
            " includes ",
            "certbot-pinkeep confirm",
            sound,
            first=states.included,
        ),
        Row(states.another_line, "the line that sends it", RENEW, sound, first=states.line_removed),
    ),
    *of(
        "core/explain_hosts",
        f"{PIN} a.test",
        Row(states.unprepared_with_own_commands, "setup has not prepared", SETUP, sound),
        Row(states.nginx_beside, " runs on this machine, too.", PIN, done),
        Row(
            states.pins_of_before,
            "If you have the private key, import it.",
            "certbot-pinkeep backup a.test add",
            done,
            {"FILE": states.offline_key},
        ),
        Row(states.pins_of_before, "it, drop the pin.", "certbot-pinkeep backup a.test drop", done),
        Row(
            states.site_is_down,
            "If clients hold earlier pins, record them",
            "certbot-pinkeep release",
            done,
            {"DATE": "{next_year}", "PIN --pin PIN": "{live_pin} --pin {backup}"},
        ),
    ),
    *of(
        "core/explain_hosts",
        f"{PIN} b.test",
        Row(states.sends_others_pins, "\nRun: certbot-pinkeep check", CHECK, found),
    ),
    *of(
        "workflow/setup",
        SETUP,
        Row(states.snippet_of_version_0_1, "Version 0.1 of pinkeep wrote", RENEW, gone),
    ),
    *of(
        "cli/export",
        "certbot-pinkeep export a.test --format header",
        Row(states.for_apps_alone, " has no header to export", PIN, gone),
    ),
    *of(
        "storage/store",
        RENEW,
        Row(states.own_command_lost, "and no folders from", PIN, sound, {"VALUE": "{root}/reload"}),
    ),
    *of(
        "check/site_rules",
        CHECK,
        Row(states.another_certificate_in_its_place, "Run: certbot renew", RENEW, gone),
    ),
    *of(
        "cli/served",
        f"{PIN} a.test",
        Row(
            states.reload_by_hand,
            "certbot-pinkeep confirm ",
            "certbot-pinkeep confirm",
            sound,
            first=states.reloaded,
        ),
    ),
    *of(
        "check/local_rules",
        CHECK,
        Row(states.unprepared, "See that it has loaded mod_headers", SETUP, done),
    ),
    *of(
        "carriers/apache",
        f"{RENEW} --pinkeep-max-age 600",
        Row(states.without_mod_headers, "\nRun: certbot-pinkeep setup", SETUP, done),
    ),
]
