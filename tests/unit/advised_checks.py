"""What ``check`` and ``status`` say, and what comes of it: rows for ``test_advice_followed.py``."""

from __future__ import annotations

import states
from followed import Row, done, gone, sound

CHECK, STATUS = "certbot-pinkeep check", "certbot-pinkeep status"
RENEW = "certbot renew"


ROWS = [
    Row("commands/check", states.not_pinned_yet, CHECK, "there is no keyring yet.", RENEW, sound),
    Row("commands/status", states.not_pinned_yet, STATUS, "No keyring yet.", RENEW, sound),
    Row(
        "checks/machine",
        states.one_of_two_records_lost,
        CHECK,
        "the releases again that",
        RENEW,
        sound,
    ),
    Row(
        "checks/machine",
        states.bad_option_in_cli_ini,
        CHECK,
        " there, and run: certbot renew",
        RENEW,
        sound,
        by_hand=states.good_option_in_cli_ini,
    ),
    Row(
        "checks/machine",
        states.keyring_file_lost,
        CHECK,
        "what was served is in doubt",
        RENEW,
        sound,
    ),
    Row(
        "checks/machine",
        states.clock_was_set_back,
        CHECK,
        "Set the clock right. Where it is right now, run: ",
        "certbot-pinkeep confirm",
        sound,
    ),
    Row(
        "checks/machine",
        states.test_of_apache_failed,
        CHECK,
        " -- mend what it finds, and run",
        RENEW,
        sound,
        by_hand=states.apache_mended,
    ),
    Row(
        "checks/machine",
        states.reload_failed,
        CHECK,
        "Apache is not known to have loaded what was published",
        RENEW,
        sound,
        by_hand=states.apache_runs,
    ),
    Row(
        "checks/seen",
        states.reload_by_hand,
        CHECK,
        "Reload Apache, and run: certbot-pinkeep confirm ",
        "certbot-pinkeep confirm",
        sound,
        by_hand=states.reloaded,
    ),
    Row(
        "checks/machine",
        states.moved_to_another_keyring,
        CHECK,
        "in the <VirtualHost>, reload Apache, and run: certbot-pinkeep confirm ",
        "certbot-pinkeep confirm",
        sound,
        by_hand=states.reloaded,
    ),
    Row(
        "status",
        states.moved_to_another_keyring,
        STATUS,
        "certbot-pinkeep confirm ",
        "certbot-pinkeep confirm",
        sound,
        by_hand=states.reloaded,
    ),
    Row(
        "checks/machine",
        states.compromised,
        CHECK,
        " To do it now, run: certbot-pinkeep rollover ",
        "certbot-pinkeep rollover",
        sound,
    ),
    Row(
        "checks/machine",
        states.offline_backup_is_due,
        CHECK,
        " add --key FILE",
        "certbot-pinkeep backup",
        gone,
        {"FILE": states.offline_key},
    ),
    Row(
        "checks/machine", states.snippet_lost, CHECK, " -- it writes the snippet anew", RENEW, sound
    ),
    Row(
        "checks/machine",
        states.snippet_edited_reload_by_hand,
        CHECK,
        "; then reload Apache, and run: certbot-pinkeep confirm ",
        RENEW,
        done,
    ),
    Row("checks/machine", states.backup_lost, CHECK, " -- it stages another backup.", RENEW, sound),
    Row(
        "checks/machine", states.primary_lost, CHECK, "-- it takes the key from where", RENEW, sound
    ),
    Row(
        "checks/machine",
        states.sealed_backup_lost,
        CHECK,
        " add --keep-encrypted --key FILE",
        "certbot-pinkeep backup",
        sound,
        {"--key FILE": states.sealed},
    ),
    Row(
        "checks/machine",
        states.csr_lost,
        CHECK,
        "certbot renew -- it saves another one",
        RENEW,
        sound,
    ),
    Row(
        "checks/machine",
        states.last_certificate_deleted,
        CHECK,
        "certbot certonly --installer pinkeep --pinkeep-keyring ",
        "certbot certonly",
        sound,
    ),
    Row(
        "checks/machine",
        states.last_certificate_deleted,
        CHECK,
        "or, to leave pinning: certbot-pinkeep unpin ",
        "certbot-pinkeep unpin",
        gone,
    ),
    Row(
        "checks/machine",
        states.key_of_another,
        CHECK,
        " --force-renewal --installer pinkeep",
        RENEW,
        sound,
    ),
    Row(
        "checks/machine", states.overdue, CHECK, "and run: certbot renew --cert-name ", RENEW, sound
    ),
    Row(
        "checks/machine", states.expired, CHECK, "and run: certbot renew --cert-name ", RENEW, sound
    ),
    Row(
        "checks/machine",
        states.replaced_without_pinkeep,
        CHECK,
        "Do not reload Apache, and run: certbot renew --cert-name ",
        RENEW,
        sound,
    ),
    Row(
        "checks/hosts",
        states.replaced_and_loaded,
        CHECK,
        " --force-renewal --installer",
        RENEW,
        sound,
    ),
    Row("checks/machine", states.backup_is_live, CHECK, "certbot renew", RENEW, sound),
    Row(
        "checks/machine",
        states.other_installer,
        CHECK,
        "Run: certbot renew --cert-name ",
        RENEW,
        sound,
    ),
    Row(
        "checks/machine",
        states.other_installer_and_new_key,
        CHECK,
        "Run: certbot renew --cert-name ",
        RENEW,
        sound,
    ),
    Row(
        "checks/machine",
        states.no_reuse_key,
        CHECK,
        "Run: certbot renew --cert-name ",
        RENEW,
        sound,
    ),
    Row(
        "checks/machine",
        states.certificate_below_came_later,
        CHECK,
        " --force-renewal --installer pinkeep --pinkeep-keyring ",
        RENEW,
        sound,
    ),
    Row(
        "checks/machine",
        states.subdomain_not_covered,
        CHECK,
        " --force-renewal --installer",
        RENEW,
        sound,
    ),
]
