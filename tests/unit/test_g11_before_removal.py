"""What the Debian package does to certbot's files before it is removed."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "debian/before-removal"
HOOK = b'renew_hook = "for s in apache2 nginx postfix dovecot; do if service $s status >/dev/null 2>&1; '
HOOK += b'then service $s reload; fi; done"\n'

FUNCTIONS = runpy.run_path(str(SCRIPT))
renewed_without, configured_without = (
    FUNCTIONS["renewed_without"],
    FUNCTIONS["configured_without"],
)

# What a line of a renewal file becomes.
RENEWAL = {
    b"installer = pinkeep\n": b"reuse_key = True\n" + HOOK,
    b"installer = pinkeep\nreuse_key = True\n": HOOK + b"reuse_key = True\n",
    b"installer = pinkeep\nreuse_key = True\nrenew_hook = mine\n": b"reuse_key = True\nrenew_hook = mine\n",
    b"installer = apache\nreuse_key = True\n": b"installer = apache\nreuse_key = True\n",
    b"pinkeep_max_age = 86400\nkey_type = rsa\n": b"key_type = rsa\n",
    b"reuse_key = True\nrenew_hook = certbot-pinkeep deploy-hook\n": b"reuse_key = True\n",
    b"renew_hook = certbot-pinkeep deploy-hook; a\n": b"renew_hook = certbot-pinkeep deploy-hook; a\n",
    b"installer = pinkeep\nconfigurator = pinkeep\n": b"reuse_key = True\n" + HOOK,
    b"# installer = pinkeep\n": b"# installer = pinkeep\n",
    b"\xff = odd, without an end": b"\xff = odd, without an end",
}

# The lines of cli.ini that a certbot without the plugin does not understand, and others.
STOPS = """\
installer = pinkeep
installer=pinkeep
pinkeep-max-age = 86400
pinkeep_keyring = a
 installer pinkeep
deploy-hook = certbot-pinkeep deploy-hook
renew-hook = "/usr/bin/certbot-pinkeep deploy-hook && true"
""".splitlines()
STAYS = """\
installer = apache
# pinkeep-max-age = 1
deploy-hook = /root/certbot-pinkeep-and-more
reuse-key = true

""".splitlines()


@pytest.mark.parametrize("old", RENEWAL, ids=str)
def test_g11_a_renewal_file_keeps_the_key_and_all_else_without_the_plugin(old: bytes) -> None:
    """Only what the plugin alone understands is taken out, once, and only of certbot's options."""
    head, rest = b"version = 2\n[renewalparams]\n", b"[[webroot_map]]\npinkeep-a.test = /srv\n"
    new = renewed_without(head + old + rest if old.endswith(b"\n") else head + old)
    assert new == head + RENEWAL[old] + (rest if old.endswith(b"\n") else b"")
    assert renewed_without(new) == new
    assert renewed_without(b"[elsewhere]\n" + old) == b"[elsewhere]\n" + old


def test_g11_lines_of_cli_ini_that_stop_certbot_become_comments() -> None:
    """Every other line stays as it is, and a second removal changes nothing."""
    old = "".join(f"{line}\n" for line in [*STOPS, *STAYS]).encode()
    new = configured_without(old)
    mark = "# python3-certbot-pinkeep was removed: "
    assert (
        new == "".join(f"{line}\n" for line in [*(mark + line for line in STOPS), *STAYS]).encode()
    )
    assert configured_without(new) == new


def test_g11_a_removal_that_was_stopped_is_made_good_and_a_lost_file_stops_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Apt could never remove the package otherwise."""
    folder = tmp_path / "renewal"
    folder.mkdir()
    (folder / "a.conf").symlink_to("gone")
    (folder / "b.conf").write_text("[renewalparams]\ninstaller = pinkeep\n")
    (folder / "b.conf.before-removal").write_text("half of it")
    FUNCTIONS["main"](str(tmp_path))
    assert (folder / "b.conf").read_bytes() == b"[renewalparams]\nreuse_key = True\n" + HOOK
    assert not (folder / "b.conf.before-removal").exists()
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{folder}/a.conf: it cannot be changed (No such file or directory)."
    assert said[1].startswith(f"{folder}/b.conf: certbot renews")


HOLD = """\
import sys
from certbot._internal import lock
held = lock.lock_dir(sys.argv[1])
print(flush=True)
sys.stdin.read()
held.release()
"""


def test_g11_a_removal_waits_for_a_certbot_that_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By certbot's own lock, which both take and leave in the same way."""
    words = [sys.executable, "-W", "ignore", "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as certbot:
        assert certbot.stdout is not None
        certbot.stdout.readline()
        with FUNCTIONS["locked"](str(tmp_path), certbot.communicate):
            assert certbot.returncode == 0
            other = subprocess.run(
                words, stdin=subprocess.DEVNULL, capture_output=True, check=False
            )
            assert b"LockError" in other.stderr
        assert not list(tmp_path.iterdir())
    assert capsys.readouterr().out == "Certbot runs. Its end is waited for.\n"
