"""What ``check`` and ``status`` say, and what comes of it: rows for ``test_advice_followed.py``."""

from __future__ import annotations

from followed import Row, done, gone, of, sound

from simulated import states

CHECK, STATUS = "certbot-pinkeep check", "certbot-pinkeep status"
RENEW, PIN = "certbot renew", "certbot-pinkeep pin"


ROWS = [
    *of(
        "cli/check",
        CHECK,
        Row(states.not_pinned_yet, "no keyring yet", PIN, gone, {"NAME": "a.test"}),
    ),
    *of(
        "cli/status",
        STATUS,
        Row(states.not_pinned_yet, "No keyring yet", PIN, gone, {"NAME": "a.test"}),
    ),
    *of(
        "check/local_rules",
        CHECK,
        Row(states.one_of_two_records_lost, "the releases again that", RENEW, sound),
        Row(
            states.bad_option_in_cli_ini,
            " there, and run: certbot renew",
            RENEW,
            sound,
            first=states.good_option_in_cli_ini,
        ),
        Row(states.keyring_file_lost, "what was served is in doubt", RENEW, sound),
        Row(states.clock_was_set_back, "Set the clock right. If", "certbot-pinkeep confirm", sound),
        Row(states.test_of_apache_failed, "-- mend what", RENEW, sound, first=states.apache_mended),
        Row(states.reload_failed, "Apache is not known to", RENEW, sound, first=states.apache_runs),
        Row(
            states.moved_to_another_keyring,
            ", and run: certbot-pinkeep confirm ",
            "certbot-pinkeep confirm",
            sound,
            first=states.reloaded,
        ),
        Row(states.compromised, "Roll over now.", "certbot-pinkeep rollover", sound),
        Row(states.renewal_file_renamed, "Give the file the name of ", "mv ", sound),
        Row(states.compromised_neighbour, "Renew for another key.", RENEW, sound),
        Row(
            states.offline_backup_is_due,
            " add --key FILE",
            "certbot-pinkeep backup",
            gone,
            {"FILE": states.offline_key},
        ),
        Row(states.snippet_lost, " -- it writes the snippet anew", RENEW, sound),
        Row(states.snippet_edited_reload_by_hand, "; then reload ", RENEW, done),
        Row(states.backup_lost, " -- it stages another backup.", RENEW, sound),
        Row(states.primary_lost, "-- it takes the key from where", RENEW, sound),
        Row(
            states.sealed_backup_lost,
            " add --keep-encrypted --key FILE",
            "certbot-pinkeep backup",
            sound,
            {"--key FILE": states.sealed},
        ),
        Row(states.csr_lost, "certbot renew -- it saves another one", RENEW, sound),
        Row(states.last_certificate_deleted, "certonly --installer", "certbot certonly", sound),
        Row(states.last_certificate_deleted, "to leave pinning:", "certbot-pinkeep unpin", gone),
        Row(states.key_of_another, " --force-renewal", RENEW, sound),
        Row(states.overdue, "Then run: certbot renew --cert-name ", RENEW, sound),
        Row(states.expired, "Then run: certbot renew --cert-name ", RENEW, sound),
        Row(states.replaced_without_pinkeep, "Run: certbot renew --cert-name ", RENEW, sound),
        Row(states.backup_is_live, "certbot renew", RENEW, sound),
        Row(states.no_reuse_key, "Run: certbot renew --cert-name ", RENEW, sound),
        Row(states.certificate_below_came_later, " --force-renewal --installer", RENEW, sound),
        Row(states.subdomain_not_covered, " --force-renewal --installer", RENEW, sound),
    ),
    *of(
        "core/observations",
        CHECK,
        Row(
            states.reload_by_hand,
            ", and run: certbot-pinkeep confirm ",
            "certbot-pinkeep confirm",
            sound,
            first=states.reloaded,
        ),
    ),
    *of(
        "reports/status",
        STATUS,
        Row(
            states.moved_to_another_keyring,
            "certbot-pinkeep confirm ",
            "certbot-pinkeep confirm",
            sound,
            first=states.reloaded,
        ),
    ),
    *of(
        "check/site_rules",
        CHECK,
        Row(states.replaced_and_loaded, " --force-renewal", RENEW, sound),
    ),
]
