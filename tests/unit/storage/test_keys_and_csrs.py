"""Keys and CSRs in certbot's folders: matched by what they say, never overwritten, closed (G7)."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certbot_pinkeep.core.errors import BadFolder, BadKey
from certbot_pinkeep.core.key_and_csr import CsrRequest, SavedCsr, csr_request
from certbot_pinkeep.core.kinds import KeyKind
from certbot_pinkeep.core.pem import kind_of, load_private_key
from certbot_pinkeep.storage import atomic, keys_and_csrs
from certbot_pinkeep.storage.keys_and_csrs import Folders
from simulated.values import csr_of, csr_pem, make_pem, mode_of, pin_of_key, resigned, tree

KEY, OTHER = make_pem(), make_pem()
NAMES = ["example.com", "www.example.com"]
WANTED = csr_request(pin_of_key(KEY), NAMES, must_staple=False)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Empty folders, as certbot makes them."""
    (tmp_path / "keys").mkdir(mode=0o700)
    (tmp_path / "csr").mkdir()
    return Folders(str(tmp_path))


def put(folders: Folders, name: str, content: bytes) -> str:
    """A file in csr/ that somebody else made."""
    path = Path(folders.csrs) / name
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize(
    "name", ["0007_csr-certbot.pem", "0012_csr-letsencrypt.pem", "made-by-hand", ".hidden"]
)
def test_g1_csr_is_found_whatever_its_name(folders: Folders, name: str) -> None:
    """A CSR is matched by its content; older certbots' files are used byte for byte."""
    put(folders, "0000_csr-certbot.pem", csr_pem(OTHER, NAMES))
    content = csr_pem(KEY, NAMES)
    path = put(folders, name, content)
    assert folders.saved_csrs()[WANTED] == SavedCsr(path, content)


def test_of_equal_csrs_the_first_name_is_taken(folders: Folders) -> None:
    """Every run hands over the same file."""
    for name in ("0002_csr.pem", "0001_csr.pem", "0003_csr.pem"):
        put(folders, name, csr_pem(KEY, NAMES))
    assert (folders.saved_csrs()[WANTED].path or "").endswith("0001_csr.pem")


def by_program(common_name: str) -> bytes:
    """A CSR with a common name, as other programs make them."""
    return csr_of(KEY, NAMES, common_name=common_name).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    ("pem", "found"),
    [
        (csr_pem(KEY, NAMES), True),
        (csr_pem(KEY, reversed(NAMES)), True),
        (csr_pem(KEY, ["EXAMPLE.com", "www.Example.COM"]), True),
        (csr_pem(KEY, [*NAMES, "example.com"]), True),
        (by_program("example.com"), True),
        (by_program("Example Inc"), False),
        (csr_pem(OTHER, NAMES), False),
        (csr_pem(KEY, NAMES[:1]), False),
        (csr_pem(KEY, [*NAMES, "more.example.com"]), False),
        (csr_pem(KEY, NAMES, must_staple=True), False),
    ],
)
def test_g1_csr_must_ask_for_exactly_this(folders: Folders, pem: bytes, found: bool) -> None:
    """Its key, all names and no other, in any order and case, with must-staple or without."""
    put(folders, "0000_csr-certbot.pem", pem)
    assert (WANTED in folders.saved_csrs()) == found


def test_must_staple_is_part_of_the_request(folders: Folders) -> None:
    """A lineage with must-staple gets its own CSR."""
    put(folders, "0000_csr-certbot.pem", csr_pem(KEY, NAMES, must_staple=True))
    assert list(folders.saved_csrs()) == [csr_request(pin_of_key(KEY), NAMES, must_staple=True)]


def test_ip_addresses_are_names_too(folders: Folders) -> None:
    """Addresses are compared in their usual form, beside DNS names."""
    names = ["192.0.2.1", "2001:db8::1", "example.com"]
    put(folders, "0000_csr-certbot.pem", csr_pem(KEY, names))
    assert list(folders.saved_csrs()) == [csr_request(pin_of_key(KEY), names, must_staple=False)]
    made = keys_and_csrs.make_csr(KEY, names, must_staple=False)
    put(folders, "0001_csr-certbot.pem", made)
    assert len(folders.saved_csrs()) == 1


SHA256 = hashes.SHA256()
PASSED_OVER: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "junk": lambda: b"\x00\xff" * 100,
    "a private key": lambda: OTHER,
    "cut short": lambda: csr_pem(KEY, NAMES)[:-60],
    "damaged": lambda: csr_pem(KEY, NAMES).replace(b"A", b"B"),
    "huge": lambda: csr_pem(KEY, NAMES) + b"\n" * atomic.USUAL,
    "signed by another key": lambda: resigned(
        csr_of(KEY, NAMES).tbs_certrequest_bytes, OTHER, SHA256
    ),
    "signed with SHA-1": lambda: resigned(
        csr_of(KEY, NAMES).tbs_certrequest_bytes, KEY, hashes.SHA1()
    ),
}


@pytest.mark.parametrize("kind", PASSED_OVER)
def test_files_that_cannot_be_used_are_passed_over(folders: Folders, kind: str) -> None:
    """They are neither used nor an error, and the good one behind them is found."""
    put(folders, "0000_csr-certbot.pem", PASSED_OVER[kind]())
    assert folders.saved_csrs() == {}
    content = csr_pem(KEY, NAMES)
    path = put(folders, "0001_csr-certbot.pem", content)
    assert folders.saved_csrs() == {WANTED: SavedCsr(path, content)}


def test_signing_by_hand_makes_a_good_csr(folders: Folders) -> None:
    """The counter case of the two above: with its own key and SHA-256 it is used."""
    body = csr_of(KEY, NAMES).tbs_certrequest_bytes
    put(folders, "0000_csr-certbot.pem", resigned(body, KEY, SHA256))
    assert WANTED in folders.saved_csrs()


def test_what_is_no_file_is_passed_over(folders: Folders) -> None:
    """A FIFO does not block the run; folders and dead links are no CSRs."""
    os.mkfifo(Path(folders.csrs) / "0000_csr-certbot.pem")
    (Path(folders.csrs) / "0001_csr-certbot.pem").mkdir()
    (Path(folders.csrs) / "0002_csr-certbot.pem").symlink_to("nowhere")
    put(folders, "0003_csr-certbot.pem", csr_pem(KEY, NAMES))
    assert list(folders.saved_csrs()) == [WANTED]


def test_missing_folders_are_empty(tmp_path: Path) -> None:
    """If certbot has made no folder yet, nothing is found and nothing is made."""
    folders = Folders(str(tmp_path))
    folders.check()
    assert folders.saved_csrs() == {} and folders.find_key(WANTED.pin) is None
    assert list(tmp_path.iterdir()) == []


def test_made_csr_asks_for_what_it_should(folders: Folders) -> None:
    """The CSR that we make is found again for the same key and names."""
    saved = folders.save_csr(keys_and_csrs.make_csr(KEY, NAMES, must_staple=True))
    assert folders.saved_csrs() == {CsrRequest(WANTED.pin, frozenset(NAMES), True): saved}


@pytest.mark.parametrize("curve", ["secp256r1", "secp384r1"])
def test_made_key_is_of_the_kind_asked_for(curve: str) -> None:
    """A backup is of its primary's kind."""
    kind = KeyKind("ecdsa", curve)
    assert kind_of(load_private_key(keys_and_csrs.make_key(kind)).public_key()) == kind


def test_made_rsa_key_has_the_size_asked_for() -> None:
    """Two keys made one after the other differ, too."""
    kind = KeyKind("rsa", "2048")
    first, second = keys_and_csrs.make_key(kind), keys_and_csrs.make_key(kind)
    assert kind_of(load_private_key(first).public_key()) == kind
    assert pin_of_key(first) != pin_of_key(second)


def test_g5_numbering_never_overwrites(folders: Folders, tmp_path: Path) -> None:
    """The first free number is taken; what has one stays byte for byte, dead links too."""
    (tmp_path / "keys" / "0000_key-certbot.pem").write_text("certbot's own")
    (tmp_path / "keys" / "0001_key-certbot.pem").symlink_to("nowhere")
    (tmp_path / "keys" / "0003_key-certbot.pem").mkdir()
    before = tree(tmp_path)
    paths = [folders.save_key(make_pem()).path for _ in range(3)]
    assert paths == [f"keys/{n:04d}_key-certbot.pem" for n in (2, 4, 5)]
    after = tree(tmp_path)
    assert before == {path: after[path] for path in before}
    assert len(after) == len(before) + 3


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_g7_modes_hold_from_the_first_byte(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, umask: int
) -> None:
    """At every flush and link the file that is being written is closed to others already."""
    seen: list[int] = []
    real_open = os.open

    def noting_open(path: str, flags: int, mode: int = 0o777) -> int:
        descriptor = real_open(path, flags, mode)
        if flags & os.O_CREAT:
            seen.append(os.fstat(descriptor).st_mode & 0o777)
        return descriptor

    before = os.umask(umask)
    try:
        monkeypatch.setattr(os, "open", noting_open)
        key = folders.save_key(KEY)
        csr = folders.save_csr(csr_pem(KEY, NAMES))
    finally:
        os.umask(before)
    assert len(seen) == 2 and seen[0] & 0o077 == 0
    assert mode_of(folders.absolute(key.path)) == 0o600
    assert csr.path is not None and mode_of(csr.path) == 0o644


def test_g7_new_key_folder_is_closed(tmp_path: Path) -> None:
    """If there is no keys/ yet, it is made for its owner only."""
    folders = Folders(str(tmp_path))
    folders.save_key(KEY)
    assert mode_of(folders.keys) == 0o700


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o710, 0o755, 0o777])
def test_g7_open_key_folder_is_refused(folders: Folders, mode: int) -> None:
    """No key is written where others could look; the error says what to run."""
    folders.check()
    os.chmod(folders.keys, mode)
    with pytest.raises(BadFolder, match="chmod 0700"):
        folders.check()


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_g7_csr_folder_that_others_write_in_is_refused(folders: Folders, mode: int) -> None:
    """Somebody else's CSR must not get in; reading is free."""
    os.chmod(folders.csrs, 0o755)
    folders.check()
    os.chmod(folders.csrs, mode)
    with pytest.raises(BadFolder, match="chmod 0755"):
        folders.check()


def test_g7_one_command_mends_both_folders(folders: Folders) -> None:
    """As after a ``chmod -R``: the admin is not sent from one run to the next."""
    for folder in (folders.keys, folders.csrs):
        os.chmod(folder, 0o777)
    with pytest.raises(BadFolder) as caught:
        folders.check()
    assert folders.keys in str(caught.value) and folders.csrs in str(caught.value)
    subprocess.run(["sh", "-c", caught.value.run], check=True)
    folders.check()


def test_g7_folder_of_somebody_else_is_refused(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder's owner could replace its files."""
    folders.check()
    owner = os.stat(folders.keys).st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(BadFolder, match="chown"):
        folders.check()


def test_g7_file_in_a_folders_place_is_refused(tmp_path: Path) -> None:
    """A file named keys is told as what it is."""
    (tmp_path / "keys").write_text("")
    with pytest.raises(BadFolder, match="not a folder"):
        Folders(str(tmp_path)).check()


def test_key_is_loaded_only_if_it_is_the_right_one(folders: Folders) -> None:
    """A key file that is missing, junk, or another key is never handed over (G1)."""
    saved = folders.save_key(KEY)
    assert folders.load_key(saved.path, saved.pin) == saved == folders.find_key(saved.pin)
    with pytest.raises(BadKey, match="another key"):
        folders.load_key(folders.save_key(OTHER).path, saved.pin)
    with pytest.raises(BadKey, match="cannot be read"):
        folders.load_key("keys/9999_key-certbot.pem", saved.pin)
    Path(folders.absolute(saved.path)).write_bytes(b"junk")
    with pytest.raises(BadKey, match="cannot be used"):
        folders.load_key(saved.path, saved.pin)


def test_key_is_found_behind_files_that_are_none(folders: Folders) -> None:
    """Junk and other keys are passed over; a key that is there is not saved again."""
    for n, content in enumerate((b"junk", OTHER)):
        (Path(folders.keys) / f"{n:04d}_key-certbot.pem").write_bytes(content)
    assert folders.find_key(WANTED.pin) is None
    saved = folders.save_key(KEY)
    assert folders.find_key(WANTED.pin) == folders.save_key(KEY) == saved
    assert folders.save_key(KEY + b"\n").path != saved.path


def test_g5_half_written_files_are_not_found(folders: Folders) -> None:
    """What a killed run left is swept away by the next one: no key may live there."""
    saved = folders.save_key(KEY)
    os.rename(folders.absolute(saved.path), Path(folders.keys) / ".pinkeep-999999999")
    assert folders.find_key(saved.pin) is None and folders.save_key(KEY) == saved


def test_g7_unusable_key_is_not_saved(folders: Folders, tmp_path: Path) -> None:
    """What cannot be used as a key does not get into the folder."""
    with pytest.raises(BadKey):
        folders.save_key(b"junk")
    assert os.listdir(tmp_path / "keys") == []


ODD_BODIES = {
    "the same extension twice": (b"\x2a\x03\x05", b"\x2a\x03\x04"),
    "an x400Address among its names": (b"\x82\x0bexample.com", b"\xa3\x0bexample.com"),
}


@pytest.mark.parametrize("kind", ODD_BODIES)
def test_g3_csr_that_the_library_cannot_read_is_passed_over(folders: Folders, kind: str) -> None:
    """A file in csr/ that is well signed, but odd, blocks no renewal."""
    extras = [
        x509.UnrecognizedExtension(x509.ObjectIdentifier(f"1.2.3.{n}"), b"\4\0") for n in (4, 5)
    ]
    body = csr_of(KEY, NAMES, extras=extras).tbs_certrequest_bytes
    old, new = ODD_BODIES[kind]
    assert old in body
    put(folders, "0000_csr-certbot.pem", resigned(body.replace(old, new), KEY, SHA256))
    put(folders, "0001_csr-certbot.pem", csr_pem(KEY, NAMES))
    assert WANTED in folders.saved_csrs()


def test_g1_csr_that_asks_for_more_is_not_taken(folders: Folders) -> None:
    """A mail address beside the names is a name too: the CA would refuse it, or certify it."""
    more = x509.SubjectAlternativeName(
        [*(x509.DNSName(name) for name in NAMES), x509.RFC822Name("a@b.example")]
    )
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    csr = csr.add_extension(more, critical=False)
    signed = csr.sign(load_private_key(KEY), SHA256)
    put(folders, "0000_csr-certbot.pem", signed.public_bytes(Encoding.PEM))
    assert WANTED not in folders.saved_csrs()


def test_g2_new_key_has_a_pin_that_wget2_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """GNU Wget2 2.2 refuses the key of a pin whose digest ends in a zero byte, one in 256."""
    made = [b"zero", b"zero", b"other"]
    pins_of = {
        b"zero": base64.b64encode(bytes(32)).decode(),
        b"other": base64.b64encode(bytes([1] * 32)).decode(),
    }
    monkeypatch.setattr(keys_and_csrs, "_made", lambda kind: made.pop(0))
    monkeypatch.setattr(keys_and_csrs, "_quick_pin", lambda pem: pins_of[pem])
    assert keys_and_csrs.make_key(KeyKind("ecdsa", "secp256r1")) == b"other"


def test_saved_csr_counts_as_a_change(folders: Folders) -> None:
    """No command says then that nothing was changed."""
    before = atomic.changes()
    folders.save_csr(csr_pem(KEY, NAMES))
    assert atomic.changes() > before
