"""Whatever an admin types by habit, a visitor who noted the first header is never refused (G11)."""

from __future__ import annotations

from e2e.world import NAME, OTHER, Pinned
from lab import Wget2


def test_g11_no_habit_locks_a_visitor_out(pinned: Pinned, regular: Wget2) -> None:
    """Another name, no installer, a new key, a plain renewal, deleted and made anew: all get pinned keys,
    and the server loads each certificate in the same run."""
    bot, server = pinned.bot, pinned.server
    assert regular.visit(pinned.url).accepted
    first = pinned.pins
    for verb, *words in (
        ("certonly", "--cert-name", NAME, "-d", NAME, "-d", OTHER, "--expand", "-i", "null"),
        ("certonly", "--cert-name", NAME, "-d", NAME, "--force-renewal"),
        ("certonly", "--cert-name", NAME, "-d", NAME, "--force-renewal", "--key-type", "rsa"),
        ("certonly", "--cert-name", NAME, "-d", NAME, "--force-renewal", "--new-key"),
        ("renew", "--force-renewal", "--no-reuse-key"),
        ("delete", "--cert-name", NAME),
        ("certonly", "-d", NAME),
    ):
        if verb == "delete":
            bot.run(verb, *words).check()
            continue
        with server.reloading():
            (bot.renew if verb == "renew" else bot.certonly)(*words).check()
        pinned.await_certificate()
        assert pinned.live_pin in first, words
        assert regular.visit(pinned.url).accepted, words
