"""What certbot's own runs say: rows for ``test_advice_followed.py``."""

from __future__ import annotations

from followed import Row, done, gone, of, says_more, sound

from simulated import states

RENEW, FORCED = "certbot renew", "certbot renew --force-renewal"
CERTONLY = "certbot certonly"
MOVE = "certbot renew --cert-name b.test -i pinkeep --pinkeep-keyring a.test"

ROWS = [
    *of(
        "installer",
        "certbot install --cert-path {foreign} --key-path {live}/privkey.pem "
        "--fullchain-path {live}/fullchain.pem -d a.test -i pinkeep",
        Row(states.pinned, "NAME --installer pinkeep", "certbot install", done, {"NAME": "a.test"}),
    ),
    *of(
        "workflow/notices",
        RENEW,
        Row(states.neighbour_came, "a key that clients refuse.\nRun:", "certbot-pinkeep pin", done),
        Row(
            states.bad_option_in_cli_ini,
            "certbot renew",
            RENEW,
            sound,
            {"VALUE": "60"},
            first=states.good_option_in_cli_ini,
        ),
    ),
    *of(
        "workflow/notices",
        MOVE,
        Row(states.two, "the move.\nRun:", "certbot-pinkeep confirm", sound, first=states.included),
    ),
    *of(
        "workflow/notices",
        "certbot certonly -d a.test -i pinkeep",
        Row(
            states.by_hand,
            ". Then confirm that.",
            "certbot-pinkeep confirm",
            sound,
            first=states.reloaded,
        ),
    ),
    *of(
        "workflow/answers",
        FORCED,
        Row(states.refused_by_the_ca, "backup out of the pins.", "certbot-pinkeep backup", sound),
    ),
    *of(
        "workflow/snippets",
        RENEW,
        Row(states.snippets_of_a_stranger, "that nobody changed what is there.", "chown -h", sound),
    ),
    *of(
        "core/errors",
        FORCED,
        Row(states.records_of_a_stranger, "changed what is there.\nRun: chown ", "chown -h", sound),
        Row(states.records_open_to_others, "changed what is there.\nRun: chmod ", "chmod", sound),
    ),
    *of(
        "core/explain_hosts",
        "certbot renew --cert-name b.test -i pinkeep",
        Row(states.expanded_past_pinkeep, ", too. Go back to a key of ", RENEW, says_more),
        Row(states.expanded_and_back, "--installer pinkeep --cert-name ", CERTONLY, sound),
    ),
    *of(
        "core/explain",
        "certbot renew --pinkeep-max-age sixty",
        Row(
            states.bad_option_on_the_command_line,
            " --installer pinkeep ",
            RENEW,
            done,
            {"VALUE": "60"},
        ),
    ),
    *of(
        "core/explain",
        RENEW,
        Row(states.bad_option_remembered, " --installer pinkeep ", RENEW, sound, {"VALUE": "60"}),
        Row(states.bad_switch_remembered, " --installer pinkeep ", RENEW, sound),
    ),
    *of(
        "core/explain",
        "certbot renew -i pinkeep",
        Row(states.odd_name, " --installer pinkeep ", RENEW, sound),
    ),
    *of(
        "carriers/apache",
        "certbot renew --pinkeep-max-age 600",
        Row(states.apache_broken, "configuration first.", RENEW, sound, first=states.apache_mended),
        Row(states.apache_stopped, "certbot renew", RENEW, sound, first=states.apache_runs),
    ),
    *of(
        "core/errors",
        RENEW,
        Row(
            states.keyring_file_edited,
            "the command below adopts the live keys anew.",
            "certbot-pinkeep pin",
            sound,
            first=states.keyring_file_moved_away,
        ),
    ),
    *of(
        "core/errors",
        "certbot renew --cert-name a.test --pinkeep-include-subdomains",
        Row(states.one_below, "certbot renew --cert-name ", RENEW, sound),
    ),
    *of(
        "workflow/issue",
        "certbot certonly -d a.test --new-key --force-renewal -i pinkeep",
        Row(states.not_pinned_yet, "so it has no backup key to roll", "certbot-pinkeep pin", sound),
    ),
    *of(
        "workflow/unrecorded",
        FORCED,
        Row(states.key_refused_and_record_lost, "pinkeep --cert-name ", "certbot install", done),
    ),
    *of(
        "workflow/enrol",
        RENEW,
        Row(states.record_lost, "add --channel", "certbot-pinkeep release", done, states.A_RELEASE),
        Row(
            states.record_and_offline_backup_lost,
            " add --csr FILE",
            "certbot-pinkeep backup",
            sound,
            {"FILE": states.offline_csr},
        ),
        Row(
            states.record_lost_and_replaced,
            "To pin anew then, move ",
            RENEW,
            done,
            first=states.snippet_moved_away,
        ),
    ),
    *of(
        "workflow/accepted",
        RENEW,
        Row(states.replaced_without_pinkeep, "Go back to the pinned key.", RENEW, sound),
    ),
    *of(
        "core/explain",
        FORCED,
        Row(
            states.compromised_and_unsafe,
            "To renew now all the same, force the rollover.",
            "certbot-pinkeep rollover a.test --now --force",
            done,
        ),
        Row(states.compromised_without_backup, "Stage a backup.", "certbot install", done),
    ),
    *of(
        "core/explain",
        "certbot certonly -d a.test --duplicate -i pinkeep --pinkeep-keyring a.test",
        Row(
            states.compromised_and_unsafe,
            "To have a certificate now all the same, force the rollover",
            "certbot-pinkeep rollover a.test --force",
            gone,
        ),
    ),
    *of(
        "core/explain_hosts",
        "certbot delete --cert-name a.test",
        Row(states.pinned, "To get a new certificate with a pinned key, run this.", CERTONLY, done),
        Row(states.pinned, "are to forget the pins instead, leave", "certbot-pinkeep unpin", done),
    ),
    *of(
        "storage/atomic",
        FORCED,
        Row(states.keys_open_to_others, "and is open to other users.", "chmod", sound),
        Row(states.keys_of_a_stranger, ". certbot runs as the user ", "chown", sound),
    ),
    *of(
        "installer",
        f"{CERTONLY} -d a.test --duplicate",
        Row(states.certbot_of_tomorrow, "pinned certificate or host is concerned, so", RENEW, done),
    ),
    *of(
        "core/explain",
        "certbot-pinkeep rollover a.test --force",
        Row(states.replaced_without_pinkeep, "rollover locks out no more clients.", RENEW, sound),
    ),
    *of(
        "core/explain",
        "certbot-pinkeep rollover a.test",
        Row(states.renewed_by_hand, "'certbot renew' does not roll ", f"{RENEW} --cert-name", done),
    ),
    *of(
        "workflow/unrecorded",
        FORCED,
        Row(states.keys_and_record_lost, "may hold pins", RENEW, sound, first=states.keys_restored),
    ),
    *of(
        "workflow/workspace",
        FORCED,
        Row(
            states.keys_lost,
            "Restore what is lost from a backup of",
            "certbot-pinkeep pin",
            sound,
            first=states.keys_restored,
        ),
    ),
    *of(
        "installer",
        "certbot certonly -d a.test -i pinkeep --key-path {plain}",
        Row(
            states.nothing,
            "certbot issues no certificate for this key",
            "certbot-pinkeep pin",
            done,
            first=states.issued_without_pinkeep,
        ),
    ),
    *of(
        "workflow/neighbours",
        "certbot-pinkeep pin a.test",
        Row(states.odd_neighbour, "--key-type ecdsa --elliptic-curve secp256r1", RENEW, gone),
    ),
    *of(
        "core/explain_hosts",
        "certbot renew --cert-name c.test -i pinkeep",
        Row(states.overlapping, "after one keyring pins", RENEW, done),
    ),
    *of(
        "core/explain_hosts",
        "certbot certonly --cert-name new -d a.test -d b.test -i pinkeep",
        Row(states.two, ". Ask for one certificate for each keyring, first for ", CERTONLY, done),
    ),
    *of(
        "core/explain_hosts",
        "certbot renew --cert-name c.test -i pinkeep",
        Row(states.overlapping_and_deleted, "client holds pins of", "certbot-pinkeep status", done),
    ),
    *of(
        "core/explain_hosts",
        "certbot certonly --cert-name wild -d *.w.test",
        Row(
            states.two_below_a_wildcard, " pins it, too, and no key is pinned by both.", RENEW, gone
        ),
    ),
    *of(
        "core/explain_hosts",
        "certbot renew --cert-name wild --force-renewal",
        Row(
            states.compromised_wildcard_above_two,
            "You can renew wild after one keyring pins all its names.",
            RENEW,
            gone,
        ),
    ),
    *of(
        "workflow/publish",
        f"{RENEW} --pinkeep-header nginx",
        Row(
            states.served_by_nginx_from_now_on,
            "there is no command for that",
            RENEW,
            done,
            first=states.reloaded,
        ),
    ),
]
