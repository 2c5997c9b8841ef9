"""What the commands of certbot-pinkeep say: rows for ``test_advice_followed.py``."""

from __future__ import annotations

from followed import Row, done, gone, of, says_more, sound

from simulated import states

RENEW = "certbot renew"
ROLLOVER, CONFIRM = "certbot-pinkeep rollover a.test", "certbot-pinkeep confirm a.test"
STATUS, CHECK = "certbot-pinkeep status", "certbot-pinkeep check"
BACKUP, EXPORT = "certbot-pinkeep backup a.test", "certbot-pinkeep export a.test --format"
UNPIN, RELEASE = "certbot-pinkeep unpin a.test", "certbot-pinkeep release a.test"
ADD = f"{RELEASE} add --channel ios --label 1 --until {{next_year}}"

ROWS = [
    *of(
        "core/explain",
        ROLLOVER,
        Row(states.unsafe, "the first renewal that is safe roll the keyring over,", ROLLOVER, done),
        Row(states.host_could_not_be_seen, "clients hold no earlier pins,", f"{RELEASE} end", gone),
        Row(states.keyring_file_lost, "The next renewal tells more.", RENEW, done),
        Row(states.clock_was_set_back, "the clock is right now, confirm the clock.", CONFIRM, gone),
        Row(
            states.new_backup_pending,
            "you reload the web server",
            CONFIRM,
            sound,
            first=states.reloaded,
        ),
        Row(
            states.moved_to_another_keyring,
            " there, confirm that.",
            CONFIRM,
            sound,
            first=states.reloaded,
        ),
        Row(states.backups_lost, "The next renewal stages a backup key.", RENEW, sound),
    ),
    *of(
        "core/explain",
        f"{ROLLOVER} --when-safe",
        Row(states.backups_lost, "rolls over after it has a backup key.", RENEW, sound),
        Row(
            states.offline_backup,
            "Import that key.",
            f"{BACKUP} add",
            gone,
            {"FILE": states.offline_key},
        ),
        Row(states.offline_backup, "key is lost for good, drop its pin.", f"{BACKUP} drop", gone),
    ),
    *of(
        "core/explain",
        f"{ROLLOVER} --compromised --when-safe",
        Row(states.unsafe, "clients out, force the rollover.", f"{ROLLOVER} --now --force", done),
    ),
    *of(
        "core/explain_hosts",
        UNPIN,
        Row(states.released, "that release any more, end it.", RELEASE, gone),
    ),
    *of(
        "core/explain_hosts",
        CONFIRM,
        Row(states.moved_with_one_left_behind, "Move that certificate, too.", RENEW, gone),
    ),
    *of(
        "core/explain",
        CONFIRM,
        Row(states.keyring_file_lost, "cannot confirm what is served", RENEW, gone),
        Row(states.clock_was_set_back, "the clock is right now, confirm the clock.", CONFIRM, gone),
    ),
    *of(
        "core/explain",
        UNPIN,
        Row(
            states.reload_by_hand, "web server, then confirm", CONFIRM, gone, first=states.reloaded
        ),
    ),
    *of(
        "workflow/offline_backups",
        f"{BACKUP} drop {{live_pin}}",
        Row(states.backup_is_live, "is issued for it already.", RENEW, sound),
    ),
    *of(
        "workflow/offline_backups",
        f"{BACKUP} drop {{backup}}",
        Row(states.compromised_one_backup, "Renew first.", RENEW, sound),
    ),
    *of(
        "cli/backup",
        f"{BACKUP} add --keep-encrypted --key {{plain}}",
        Row(
            states.pinned,
            "Run: openssl pkcs8",
            "openssl pkcs8",
            done,
            {"encrypted.pem": "encrypted.pem -passout pass:secret"},
        ),
    ),
    *of(
        "core/pem",
        f"{BACKUP} add --csr {{live}}/cert.pem",
        Row(states.pinned, "openssl x509", "openssl x509", done, {"FILE": states.certificate_file}),
    ),
    *of(
        "cli/deploy_hook",
        "certbot-pinkeep deploy-hook",
        Row(states.hook_only, "lock out every client that holds the pins.", RENEW, sound),
    ),
    *of(
        "cli/export",
        f"{EXPORT} ios -o {{root}}/pins",
        Row(states.pinned, "Record each ", RELEASE, done),
    ),
    *of(
        "cli/export",
        f"{EXPORT} ios",
        Row(states.unpinned_for_good, "You can pin its hosts again.", UNPIN, gone),
        Row(states.never_served, " publishes no pins.", RENEW, sound),
    ),
    *of(
        "cli/rollover",
        f"{ROLLOVER} --now",
        Row(states.apache_stopped, "output above says.", RENEW, sound, first=states.apache_runs),
        Row(states.ca_is_down, "--force-renewal", RENEW, sound, first=states.ca_is_back),
    ),
    *of(
        "workflow/requests",
        CONFIRM,
        Row(states.never_served, " publishes nothing yet.", RENEW, sound),
    ),
    *of(
        "workflow/releases",
        f"{ADD} --pin {{strange}}",
        Row(states.pinned, "See which pins it has.", STATUS, done),
    ),
    *of(
        "workflow/releases",
        ADD,
        Row(states.unpinned, " leaves pinning, so nothing is to carry its pins.", UNPIN, gone),
        Row(states.never_served, " publishes no pins yet.", RENEW, sound),
        Row(states.reload_by_hand, "yourself, confirm that.", CONFIRM, gone, first=states.reloaded),
        Row(states.replaced_without_pinkeep, "Go back to the pinned key first.", RENEW, sound),
        Row(states.compromised, "'certbot renew' takes the key out of the pins", RENEW, done),
    ),
    *of(
        "exports/hosts",
        f"{EXPORT} ios",
        Row(states.replaced_without_pinkeep, "what is pinned, and export again.", RENEW, says_more),
        Row(states.unpinned, "To stay pinned, take that back.", UNPIN, gone),
        Row(states.compromised, "Roll over first.", ROLLOVER, gone),
    ),
    *of(
        "reports/status",
        STATUS,
        Row(
            states.reload_failed,
            "command reloads the web server.",
            RENEW,
            gone,
            first=states.apache_runs,
        ),
        Row(
            states.reload_by_hand,
            "reload the web server yourself,",
            CONFIRM,
            gone,
            first=states.reloaded,
        ),
        Row(states.pinned, "now. To roll over at the next renewal, ask for that.", ROLLOVER, done),
        Row(states.renewed_by_hand, "certbot renew --cert-name", "certbot renew --cert-name", done),
    ),
    *of(
        "reports/status",
        "certbot-pinkeep backup a.test list",
        Row(
            states.offline_backup_is_due,
            " add --key FILE",
            f"{BACKUP} add",
            gone,
            {"FILE": states.offline_key},
        ),
    ),
    *of(
        "check/site_rules",
        CHECK,
        Row(states.served_key_that_an_app_refuses, "any more, run: certbot-pinkeep", RELEASE, done),
        Row(
            states.moved_but_not_included,
            "reload Apache,",
            CONFIRM,
            sound,
            first=states.included,
        ),
    ),
    *of(
        "check/local_rules",
        CHECK,
        Row(states.keys_open_to_others, "Run: chmod ", "chmod", sound),
        Row(states.snippet_open_to_others, "Run: chmod ", "chmod", sound),
        Row(states.records_open_to_others, "Run: chmod ", "chmod", sound),
        Row(states.snippet_replaced, " -- then run: ", "mv", gone),
        Row(states.keys_of_a_stranger, "Run: chown ", "chown", sound),
    ),
    *of(
        "core/pem",
        f"{BACKUP} add --csr {{der}}",
        Row(states.pinned, "-inform DER -in FILE", "openssl req", done, {"FILE": states.der_csr}),
    ),
    *of(
        "core/pem",
        f"{BACKUP} add --csr {{sha1}}",
        Row(states.pinned, "openssl req -noout", "openssl req", done, {"FILE": states.sha1_csr}),
    ),
    *of(
        "cli/check",
        f"{CHECK} --connect",
        Row(states.pinned, "certbot-pinkeep check --help", CHECK, done),
    ),
    *of(
        "cli/check",
        CHECK,
        Row(states.not_pinned_yet, "keyring yet", "certbot-pinkeep pin", sound, {"NAME": "a.test"}),
    ),
    *of(
        "adapters/renewal_conf",
        "certbot-pinkeep deploy-hook",
        Row(states.hook_for_damaged, "See 'certbot certificates'", "certbot certificates", done),
    ),
    *of(
        "core/explain",
        f"{ADD} --pin {{live_pin}}",
        Row(states.forced, "To take the forced rollover back, do so", f"{ROLLOVER} --undo", done),
    ),
    *of(
        "core/explain",
        f"{ADD} --pin {{backup}}",
        Row(states.pinned, " any more, end it.", f"{RELEASE} end", done),
    ),
    *of(
        "core/explain",
        RENEW,
        Row(states.backups_lost, "next renewal stages the old backup keys again.", RENEW, sound),
    ),
    *of(
        "workflow/workspace",
        "certbot renew -i pinkeep",
        Row(states.key_of_another_before_it_is_pinned, "it was replaced. Renew the", RENEW, sound),
    ),
    *of(
        "cli/backup",
        f"{BACKUP} add --key {{plain}}",
        Row(states.not_pinned_yet, "certbot-pinkeep pin ", "certbot-pinkeep pin", done),
    ),
    *of(
        "cli/pin",
        "certbot-pinkeep pin a.test",
        Row(states.unpinned, "leaves pinning. You can stay pinned.", UNPIN, gone),
    ),
    *of(
        "storage/trust",
        STATUS,
        Row(states.copies_open_to_others, "chmod go-w ", "chmod go-w", sound),
        Row(states.copies_of_a_stranger, "chown -h ", "chown -h", sound),
    ),
    *of(
        "cli/pin",
        "certbot-pinkeep pin a.test --key {plain}",
        Row(
            states.not_pinned_yet,
            "Otherwise a later rollover locks the app out.",
            f"{RELEASE} add",
            done,
            {"VERSION": "1", "DATE": "{next_year}"},
        ),
        Row(states.not_pinned_yet, "Run: certbot renew", "certbot renew --cert-name", done),
    ),
    *of(
        "workflow/prune",
        "certbot-pinkeep prune a.test",
        Row(states.clock_was_set_back, "certbot-pinkeep confirm", "certbot-pinkeep confirm", sound),
    ),
]
