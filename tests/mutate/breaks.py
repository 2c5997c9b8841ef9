"""Single breaks of the product's rules. Each of them must make a test fail.

A break replaces one piece of a module. The piece occurs once in its module; a unit test sees to that,
so the list follows the code. The tests of a break are those that are about its rule.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Break:
    """One rule, broken.

    :ivar module: below the package, without ``.py``
    :ivar piece: what stands there
    :ivar instead: what is to stand there
    :ivar tests: files below ``tests/unit``, without ``test_`` and ``.py``: no two have one name
    """

    module: str
    piece: str
    instead: str
    tests: tuple[str, ...]


def _of(module: str, tests: str, *pairs: tuple[str, str]) -> tuple[Break, ...]:
    return tuple(Break(module, piece, instead, tuple(tests.split())) for piece, instead in pairs)


BREAKS = (
    # What a pin is, and what a client reads
    *_of(
        "core/pins",
        "pins",
        ("hashlib.sha256(spki)", "hashlib.sha1(spki)"),
        ("SubjectPublicKeyInfo\n", "PKCS1\n"),
        ("return False", "return True"),
    ),
    *_of(
        "core/header",
        "pins",
        ('elif name.startswith("pin-"):', 'elif name.startswith("pin-x"):'),
        ("elif name in others:", "elif False:"),
        ("max_age.isascii() and max_age.isdigit()", "max_age.isdigit()"),
        ('"includesubdomains" in others', '"includeSubDomains" in others'),
    ),
    *_of(
        "core/pem",
        "pins usable_keys keys_and_csrs offline_backups",
        ("if key.key_size < LEAST_RSA_BITS:", "if False:"),
        ("if not csr.is_signature_valid:", "if False:"),
        ('digest.name in ("md5", "sha1")', 'digest.name in ("md5",)'),
        (
            "if numbers.p * numbers.q != numbers.public_numbers.n or not _belongs(numbers):",
            "if not _belongs(numbers):",
        ),
    ),
    # What check finds
    *_of(
        "check/site_rules",
        "site_rules",
        (
            '"unreachable": (\n        Severity.UNKNOWN',
            '"unreachable": (\n        Severity.WARNING',
        ),
        ("if not locked and (known or", "if (known or"),
        ("known = served.pin in _policy_pins(seen)", "known = True"),
        ("    if served.end <= now:", "    if False:"),
    ),
    *_of(
        "check/header_rules",
        "site_rules",
        ("if len(sent) > 1:", "if False:"),
        ("if set(header.pins) <= {pin}:", "if False:"),
        ("if header.max_age != policy.max_age:", "if False:"),
        ("if pin not in header.pins:", "if False:"),
    ),
    *_of(
        "check/local_rules",
        "local_rules",
        ("if place.mode & forbidden:", "if False:"),
        ("if not key.fault or key.role not in HANDED_OVER:", "if True:"),
        ("if live.end <= now:", "if False:"),
        ("if not lineage.reuse_key and not unpinned:", "if False:"),
        ("if not lineage.reuse_key and not unpinned:", "if not lineage.reuse_key:"),
        ("if policy.include_subdomains and below:", "if False:"),
    ),
    *_of(
        "check/findings",
        "findings",
        ("(Severity.CRITICAL, Severity.WARNING, Severity.UNKNOWN)", "tuple(Severity)[::-1]"),
        ('told.replace("|", "/")', "told"),
        ("dict.fromkeys(found)", "found"),
    ),
    # What check finds in a server's configuration
    *_of(
        "check/server_rules",
        "server_rules",
        ("if seen.snippet_path not in config.files:", "if False:"),
        ("if config.lacks_headers:", "if False:"),
        ("if not looked.intersection(cause.hosts):", "if True:"),
        ("all(place.opens for place in places)", "True"),
    ),
    *_of(
        "core/server_config",
        "server_rules",
        ("_headers(server) or inherited", "_headers(server)"),
        ("if value not in values]", "if False]"),
        ("depth < _DEEPEST", "True"),
    ),
    *_of(
        "check/certbot_rules",
        "certbot_rules",
        ("if one.where != one.program]", "]"),
        ("if not caller.loads:", "if caller.loads:"),
        ("if caller.timer and others:", "if False:"),
        ("if found is None or found.owner in (0, os.geteuid()):", "if True:"),
    ),
    *_of(
        "check/revocations",
        "revocations",
        ("or not self._is_due(noted)", "or False"),
        ("not revocation.names_crl(pem) or", ""),
        ("timedelta(0) <= age", "age"),
        ("or left <= 0", "or False"),
    ),
    *_of(
        "check/trees",
        "trees",
        ("max(self._numbers(), default=0)", "max(sound, default=0)"),
        ('"-sfnb" if beside', '"-sfn" if beside'),
    ),
    *_of("check/local_rules", "revocations", ("if lineage.revoked:", "if False:")),
    *_of(
        "check/site_rules",
        "without_header",
        ("if seen.state.is_without_header:", "if False:"),
        ("if served is not None and served.is_for(shown.host):", "if served is not None:"),
    ),
    *_of(
        "cli/export",
        "without_header",
        ("state.is_without_header and", "False and"),
    ),
    # What prune deletes
    *_of(
        "workflow/prune",
        "prune",
        ('key.role == "retired" and (', "("),
        ("if unknown is not None:", "if False:"),
        ("workspace.store.check_all()", "pass"),
        ("for each in (state, *others)", "for each in others"),
        ("if _names(other, key):", "if False:"),
        ("(each is state and _is_unseen(one))", "False"),
        ("if key.pin in kept:", "if False:"),
        ("path not in files[key.pin].keys", "False"),
        ('key.retire_reason == "revoked"', "False"),
        ("if found.gone and not dry_run:", "if found.gone:"),
    ),
    # What is published (G4)
    *_of(
        "core/policy",
        "policy",
        ("if len(self.pins) < 2:", "if len(self.pins) < 1:"),
        ("if len(set(self.pins)) != len(self.pins):", "if False:"),
        ("timedelta(0) if self.report_only else ", ""),
    ),
    *_of(
        "core/hostnames",
        "hostnames ledger odd_names",
        ("return _stands_for(name, host) or holds(", "return holds("),
        ("return subdomains and bool(below)", "return bool(below)"),
        ('wildcard.startswith("*.") and ', ""),
        (r"(?!\d+\Z)", ""),
    ),
    *_of(
        "core/keyring",
        "keyring g2_shared left_types g2_left_behind workspace",
        (
            "staged = [key for key in self._staged() if key not in served]",
            "staged = self._staged()",
        ),
        ("if one.enrolled and not one.transferred)", "if one.enrolled)"),
        ("first = key.first_served or times.get(key.pin)", "first = times.get(key.pin)"),
    ),
    *_of(
        "core/membership",
        "keyring g2_shared left_types g2_left_behind workspace",
        ('if known.role != "retired":\n        return keyring\n', "return keyring\n"),
        ('"in-service" and key.pin not in served', '"in-service"'),
        ("and not keyring.is_in_advance(key_type)", ""),
    ),
    *_of(
        "core/staging",
        "keyring offline_backups g3_lost_keys",
        ("if k.pin not in served and not k.added]", "]"),
        ("lambda key: key.is_lost", "lambda key: False"),
        ("and not key.fault and key.pin not in served", ""),
    ),
    # Until when it binds (G2)
    *_of(
        "core/holdings",
        "ledger g2_ledger releases g2_shared",
        ("return self.until + self.ttl", "return self.until"),
        ("return (self.replaced or now) + self.policy.binding", "return self.replaced or now"),
        ("bool(self.policy.binding) and _binds_at(", "_binds_at("),
        ("if hosts and others else ()", ""),
        ("        not served or hosts is None or bool(", "        hosts is None or bool("),
    ),
    *_of(
        "core/ledger",
        "ledger g2_ledger releases g2_imported_history",
        ("if self.current is None or self.is_ahead_of(at):", "if self.current is None:"),
        ("and not _shrinks(current, hosts)", ""),
        (
            "added = Entry(policy, self.not_before(at), hosts=hosts)",
            "added = Entry(policy, at, hosts=hosts)",
        ),
        ("confirmed=self.current.confirmed or at", "confirmed=at"),
        ("until=max(until, release.until), ttl=", "until=until, ttl="),
        ("if until + ttl < bound:", "if False:"),
        ("latest = max(now, self.latest_known or now)", "latest = self.latest_known"),
        ("if len(self.expired) < MOST_EXPIRED:", "if True:"),
        ("until = max(until, self.uncertain.until or until)", "pass"),
        (
            "uncertain=_joined(self.uncertain, other.uncertain)",
            "uncertain=self.uncertain",
        ),
        ("return entry.confirmed is not None and not set(", "return not set("),
        ("values() if one.may_bind(now)]", "values() if False]"),
        ("expired=tuple(found[-MOST_EXPIRED:])", "expired=self.expired"),
        ("if known is not None and known.cause:\n", "if False:\n"),
        (
            "key=lambda one: (bool(one.cause), one.until or times.EARLIEST)",
            "key=lambda one: bool(one.why)",
        ),
    ),
    # Whether switching is safe, and which key is next (G2, G3, G8)
    *_of(
        "core/rollover",
        "g2_rollover g2_histories g3_compromised usable_keys",
        ("if unknown is not None and unknown.end is None:", "if False:"),
        ("if not isinstance(one, Release) and one.replaced is None:", "if False:"),
        ("since = max(since, one.binds_until(now))", "since = one.binds_until(now)"),
        ("if pin not in one.pins and one.binds_at(hosts)", "if pin not in one.pins"),
        ("for key in backups if not key.is_lost]", "for key in backups]"),
        (
            "if key.forced:\n            return key, verdict",
            "if False:\n            return key, verdict",
        ),
        ('key.role not in ("compromised", "retired")', 'key.role not in ("retired",)'),
        (
            "if keyring.rollover_days is None or primary.first_served is None:",
            "if keyring.rollover_days is None:",
        ),
        (
            "if due and best is not None and (best.forced or verdict.at(now)):",
            "if due and best is not None:",
        ),
        ("_, key, verdict = min(known", "_, key, verdict = max(known"),
        ("return max(verdicts, key=_lateness", "return min(verdicts, key=_lateness"),
    ),
    # What a host sent before it was pinned (G2)
    *_of(
        "core/earlier_headers",
        "g2_earlier",
        ("if not is_held(pin):", "if False:"),
        (
            "if not any(hostnames.holds(name, one.host, subdomains=False) for name in valid_for):",
            "if False:",
        ),
        (
            "and not header.include_subdomains:\n            header = None",
            "and False:\n            header = None",
        ),
        ("begin + held)", "begin)"),
        ("if one.certificate is None or one.stopped:", "if one.certificate is None:"),
    ),
    # Files (G5, G7)
    *_of(
        "storage/atomic",
        "atomic trust regular_files g5_kills",
        ("if not stat.S_ISREG(mode):", "if False:"),
        ("if len(content) > largest:", "if False:"),
        ("os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY", "os.O_RDONLY | os.O_NOCTTY"),
        (
            "reached is None or not os.path.samestat(reached, os.fstat(descriptor))",
            "reached is None",
        ),
    ),
    *_of(
        "storage/trust",
        "trust",
        ("return bool(found.st_uid not in users or open_to_all)", "return bool(open_to_all)"),
        ("found.st_mode & stat.S_ISVTX:", "True:"),
    ),
    *_of(
        "storage/store",
        "store g2_put_back shadow trust",
        ("own.saved >= copy.saved", "own.saved >= 0"),
        ("saved=state.saved + 1", "saved=state.saved"),
        ("if n not in _COMMANDS}", "}"),
        ("return max(now, latest) if latest else now", "return now"),
        (
            "atomic.replace(self.path(name), content, 0o600)",
            "atomic.replace(self.path(name), content, 0o644)",
        ),
    ),
    *_of(
        "storage/store",
        "earlier_formats history",
        ("if state is not None and self._on_record(name).is_earlier:", "if False:"),
        ("before is not None and not before.is_earlier else", "before is not None else"),
        ("(one for one in past if one not in noted)", "past"),
    ),
    *_of(
        "storage/keyring_file",
        "store earlier_formats",
        (
            'if first != f"{_CHECKSUM}{hashlib.sha256(body).hexdigest()}".encode():',
            "if not first.startswith(_CHECKSUM.encode()):",
        ),
        ("if version > VERSION:", "if False:"),
        ("if recorded != sorted(recorded):", "if False:"),
        ("if ledger.current is not None and ledger.current.replaced is not None:", "if False:"),
        ("if len(set(pins)) != len(pins):", "if False:"),
        ("if any(member.pin not in pins for member in keyring.members):", "if False:"),
        ("if found.until is None and not found.cause:", "if False:"),
    ),
    *_of("storage/keyring_file", "ledger", ("if known != sorted(known):", "if False:")),
    *_of(
        "storage/earlier_formats",
        "earlier_formats",
        ("found += _forgotten(parsed)", "pass"),
        ("if (what, since) not in released:", "if True:"),
        ('"cause": "doubt" if doubt else ""', '"cause": ""'),
        ('return {"hosts": [], **one}', 'return {**one, "hosts": []}'),
    ),
    *_of(
        "storage/atomic",
        "history",
        (
            'if found.st_size and os.pread(descriptor, 1, found.st_size - 1) != b"\\n":',
            "if False:",
        ),
    ),
    *_of(
        "storage/shadow",
        "shadow trust",
        (
            "listed = os.listdir(self.folder) if is_trusted(self.folder) else []",
            "listed = os.listdir(self.folder)",
        ),
        ("now >= latest + _TICK", "now <= latest"),
    ),
    *_of(
        "storage/keys_and_csrs",
        "keys_and_csrs usable_keys regular_files",
        ("if saved.pin != pin:", "if False:"),
        ("atomic.make_folder(self.keys, 0o700)", "atomic.make_folder(self.keys, 0o755)"),
        ("pem, 0o600, names)", "pem, 0o644, names)"),
    ),
    # What is handed over (G1, G3)
    *_of(
        "workflow/issue",
        "g3_handover g3_compromised g3_lost_keys g2_hosts g2_meanwhile",
        (
            "pin == live.pin:\n        return not workspace.store.is_compromised(pin)",
            "pin == live.pin:\n        return True",
        ),
        (
            "key, state, compromised=answer.compromised",
            "key, state, compromised=False",
        ),
        ("if decision.held and request.asked:", "if False:"),
        ("best is not None and not accepted and (goes_on or verdict.at(now))", "best is not None"),
        (
            "csr = SavedCsr(None, pem) if request.dry_run else _save_csr(workspace, pem)",
            "csr = _save_csr(workspace, pem)",
        ),
    ),
    *_of(
        "workflow/issue",
        "releases",
        ("if added and rollover.locked_out(pin, ledger, now, added):", "if False:"),
    ),
    *_of("workflow/issue", "pin", ("or _is_in_use(workspace, saved.pin):", "or False:")),
    *_of(
        "workflow/accepted",
        "accepted g3_handover workspace g2_left_behind g3_odd_live_keys",
        (
            'return key.forced or (key.role == "backup" and ready)',
            'return key.forced or key.role == "backup"',
        ),
        (
            "if not publishes(state, live.pin) or not state.keyring.key(live.pin):",
            "if not state.keyring.key(live.pin):",
        ),
    ),
    *_of(
        "adapters/certbot_client",
        "certbot_client g2_meanwhile",
        ("    _compare(certificate, handed)\n    return", "    return"),
        (
            "if again is None or again.pin == handed.pin:\n                break",
            "if again is None:\n                break",
        ),
        (
            "if self.dry_run:\n                raise refusal from error",
            "if False:\n                raise refusal from error",
        ),
    ),
    # A host has one keyring (G2)
    *_of(
        "workflow/move",
        "g2_hosts g2_shared g2_left_behind",
        ("state = None if name == keyring else workspace.recall(name, now)", "state = None"),
        ("if not locked or _has_moved(other, locked, keyring):", "if True:"),
        (
            "return len(hostnames.covered(moved, names, subdomains=False)) == len(names)",
            "return bool(moved)",
        ),
        (
            "if compromised or workspace.store.is_compromised(live.pin):",
            "if compromised:",
        ),
    ),
    # Published, tested, loaded (G6, G12)
    *_of(
        "workflow/publish",
        "workspace apache servers g2_slow_run g5_kills",
        ("doubtful or not any(one.tested for one in together)", "False"),
        ("done = clock.after(now, began)", "done = now"),
        ("0 if state.unpin or not server.snippet else chosen.max_age", "chosen.max_age"),
        ("if found is not None and not ledger.may_be_served(found):", "if False:"),
    ),
    # At which hosts a header goes out
    *_of(
        "workflow/publish",
        "published_hosts",
        ("(one.state.ledger.pending or one.rewritten)", "one.state.ledger.pending"),
        ("if enrolled.moved_from:", "if False:"),
        ("if moved and not old.keyring.drawing:", "if False:"),
    ),
    *_of(
        "workflow/earlier_headers",
        "g2_hosts",
        ("tuple(name for name in names if name in new or name in sending)", "names"),
    ),
    *_of("workflow/requests", "published_hosts", ("kind.is_same(text, wanted)", "True")),
    *_of(
        "workflow/publish",
        "g12_loaded",
        ("name for name, reload in self.present.items() if reload == command", ""),
    ),
    *_of("workflow/run", "g2_hosts", (" or (gone and gone != enrolled)", "")),
    *_of("carriers/servers", "apache", ("return first == second", "return first[0] == second[0]")),
    *_of("core/keyring", "apache", ("if not member.transferred)", "if member)")),
    *_of(
        "workflow/load",
        "g12_loaded g12_told",
        ("loaded is False or (loaded is None and", "(loaded is None and"),
        (
            "if path is not None:\n            raise ApacheFailed",
            "if 0:\n            raise ApacheFailed",
        ),
    ),
    *_of(
        "workflow/load",
        "run",
        ("self.tried.clear()", "pass"),
        ("if not accepted or any(map(self.is_new, refused)):", "if not accepted:"),
    ),
    *_of(
        "carriers/apache",
        "apache atomic",
        ("        _put(before)\n        raise _failed_test(", "        raise _failed_test("),
        ('"expr={_OVER_TLS} && ({hosts})"', '"expr=({hosts})"'),
        ("_LONGEST_PATTERN = 4000", "_LONGEST_PATTERN = 40000"),
        ("[_KEYED.sub(f'\"expr={_OVER_TLS}\"', line) for line in found]", "found"),
        ('.replace("%", "%%")\n    return', "\n    return"),
    ),
    *_of("core/hostnames", "apache servers", ("[^.:]+", ".+")),
    *_of(
        "core/nginx_map",
        "servers",
        ("{one})$", "{one})"),
        ("_LONGEST_PATTERN = 3000", "_LONGEST_PATTERN = 40000"),
    ),
    *_of(
        "storage/uptodate",
        "uptodate trust",
        ('and _is_same(note["files"])', "and True"),
        ('if _is_same(held["shared"]) else ""', 'if True else ""'),
        (' == note["mark"]', " is not None"),
        ('set(watched) <= note["files"].keys()', "True"),
    ),
    *_of(
        "workflow/first_look",
        "cost",
        ("if self.is_over or self._changed:", "if self.is_over:"),
        ("if self.noted != self._certificates.stamps():", "if False:"),
        (", self._known)", ")"),
        ("self._shadow.tick(clock.now())", "pass"),
    ),
    *_of(
        "workflow/enrolled",
        "cost",
        ('noted is None or noted.get("files") != files', "noted is None"),
        ("not state.unpin\n", "True\n"),
    ),
    # Other installers' lineages (G9, G11, G12)
    *_of(
        "workflow/guard",
        "g11_guard g11_habits",
        ("self.finish_late()  # while Python ends", "pass  # while Python ends"),
        ("self.config.installer == INSTALLER and certbot", "certbot"),
        ("move.forget_deleted(unpinned.workspace, ", "print(unpinned.workspace, "),
        ("workspace.at_best(keyring, now)", "[workspace.recall(keyring, now)]"),
    ),
    *_of(
        "workflow/answers",
        "g11_guard g11_habits installer",
        ('if not request.asked or self.config.verb != "renew":', "if True:"),
        ("asked = self.rollover_asked and live is not None", "asked = False"),
    ),
    *_of(
        "workflow/enrol",
        "g11_guard g11_no_options_stored",
        ("if old is not None and old.settings:", "if True:"),
    ),
    *_of("storage/atomic", "atomic", ("if error.errno not in _NO_LINKS:", "if True:")),
    *_of("storage/uptodate", "g11_habits", ("if not self.is_frozen and found", "if found")),
    *_of("adapters/renewal_conf", "odd_trees", ("return name if name and", "return name if 0 and")),
    *_of(
        "adapters/certbot_guard",
        "g11_habits certbot_client",
        ("    _keep_key(config, pinned)\n", ""),
        ("_plainly(door.ending, config)", "pass"),
        ("_plainly(door.updating, config, lineage)", "pass"),
        ("_with_live_key(config, le_client, lineage), lineage)", "le_client, lineage)"),
        ("config.reuse_key = True  # certonly would take it out", "pass"),
        ("config.allow_subset_of_names = False", "pass"),
        (
            "    except Exception as error:\n        told = f",
            "    except KeyError as error:\n        told = f",
        ),
    ),
    *_of(
        "adapters/certbot_config",
        "g11_habits",
        ("return name if folder == os.path.abspath(config.live_dir) else", "return"),
    ),
    *_of(
        "check/local_files",
        "g11_habits",
        ("and (ours or self._was_for(name, hosts)):", "and ours:"),
    ),
    *_of(
        "workflow/guard",
        "g11_habits",
        ('        setattr(config, "new_key", False)', "        pass"),
        ("if run.is_enrolled(name)]", "]"),
        ("for name in () if config.dry_run else pinned:", "for name in pinned:"),
        ("pinned, everyone = [], True", "raise"),
    ),
    *_of(
        "workflow/run",
        "g11_habits",
        ("renewal_conf.path_of(self.config_dir, live.name)", "live.key_path"),
    ),
    # Several servers
    *_of(
        "carriers/apache",
        "apache g12_loaded running",
        ("if not running.is_stopped(words)]", "]"),
        ("if (failure := _run(words))]", "if (failure := _run(words)) == ()]"),
    ),
    *_of(
        "core/options",
        "options",
        ('in _SHELL_WORDS or word[-1:] == ";"), None)', "in _SHELL_WORDS), None)"),
        ("if len(found) > 1 and () in found:", "if False:"),
    ),
    # What ports were seen to serve (G13)
    *_of(
        "adapters/ports",
        "ports",
        ("LOOKS = 4", "LOOKS = 1"),
        (
            'tuple[KeyType | None, ...] = (None, "rsa", "ecdsa")',
            "tuple[KeyType | None, ...] = (None,)",
        ),
        ("answers = any(one.pins for one, _ in shown)", "answers = True"),
        ("if not (refused and answers)]", "if not answers or one.pins]"),
        ("*(one.error for one in first if not one.lacks),", ""),
    ),
    *_of(
        "workflow/zone",
        "g13_zone",
        ("    found += zone.stale(state.keyring, outcome.ports)\n", ""),
    ),
    *_of(
        "workflow/looks",
        "looks",
        ("        if self._left <= 0:\n            raise", "        if False:\n            raise"),
        ("Pool(2 * _TOGETHER)", "Pool(1)"),
        ("return in_time(call, seconds)", "return call()"),
    ),
    *_of(
        "adapters/starttls",
        "ports",
        ('raise Ended("tls", "it sent more before TLS than its answer")', "pass"),
        ("if not re.search(step.offers, answer):", "if False:"),
    ),
    # What a zone and its ports are believed to have (G2, G13)
    *_of(
        "core/zone",
        "zone",
        (
            "shown[pins] = max(held, shown.get(pins, held))",
            "shown[pins] = held",
        ),
        ("not look.errors and not ledger.is_ahead_of(at)", "not look.errors"),
        ("not look.errors and not ledger", "not ledger"),
        (
            "held = max(one.ttl, shown.pop(pins))",
            "held = shown.pop(pins)",
        ),
        ("elif ends and (one.confirmed or place < last):", "elif ends:"),
        ("(one.confirmed or place < last)", "one.confirmed"),
        ("if ends and len(look.sets) == 1:", "if ends:"),
        (
            "return with_unseen(result, [look.port], ttl, at) if look.errors else result",
            "return result",
        ),
        ("max(_last_agreed(mine, look), _last_gone(mine, shown))", "_last_agreed(mine, look)"),
        ("longest = max([ttl, *(one.ttl for one in known)])", "longest = ttl"),
        ("ttl=longest, confirmed=None)", "ttl=longest)"),
        (
            "waiting = (_as_if_seen(one, at) if one.port == port else one for one in ledger.zone)",
            "waiting = iter(ledger.zone)",
        ),
        ("ttl=max(one.ttl, _BEFORE)", "ttl=one.ttl"),
        ("known = {one.port for one in services}", "known = {one.port for one in ledger.zone}"),
        ("if pins and not any(one.error for one in seen):", "if pins:"),
        ("dict.fromkeys((*before.pins, *pins))", "pins"),
        ("(*keyring.published_pins(), *serving)", "keyring.published_pins()"),
        ("seen.issuperset(listed), seen)", "True, seen)"),
        ("one.seen is not None and one.seen >= at", "one.seen is not None"),
        ("if service.port not in want.seen:", "if service.seen is None:"),
        ("if strange:", "if False:"),
        ("and all(before[look.name] != records for records, _ in look.sets)", "and False"),
        ("if not left or left == before or strange:", "if True:"),
    ),
    *_of(
        "core/zone_observations",
        "zone",
        ("and (one.name, one.address) not in answered", "and False"),
        (
            "found[one.records] = max(one.ttl, found.get(one.records, 0))",
            "found[one.records] = one.ttl",
        ),
        ("len(sets) == 1 and not self.errors", "len(sets) == 1"),
    ),
    *_of("core/dns_names", "dns_names", ('other.endswith(f".{one}") for', "False for")),
    *_of(
        "core/dane",
        "dane",
        ("if one.matching in (_WHOLE, longest[one.usage, one.selector])]", "]"),
        ("if known or len(chain) == 1 else False", "if True else False"),
        ("record.matching in digests and len", "len"),
    ),
    *_of("core/tlsa", "zone", ('field(default="tls", compare=False)', 'field(default="tls")')),
    *_of("core/holdings", "zone", ("return 2 * self.ttl + SETTLING", "return self.ttl + SETTLING")),
    *_of("core/ledger", "zone", ("ttl=max(mine.ttl, one.ttl)", "ttl=mine.ttl")),
    *_of(
        "core/rollover",
        "g13_zone",
        ("not isinstance(one, Release) and", "isinstance(one, Entry) and"),
    ),
    *_of(
        "workflow/zone",
        "g13_zone",
        ("if latest <= at:", "if True:"),
        ("held = {one.where for one in zone.unseen(looks, before)}", "held = set()"),
        ("if why and listed else set()", "if why else set()"),
        ("if look.port in services or look.name not in of_list", ""),
    ),
    # What name servers show (G13), and what is written into a zone
    *_of(
        "adapters/dns_session",
        "name_servers",
        ('(("udp", 1.0), ("tcp", 1.5), ("udp", 1.5))', '(("udp", 1.0), ("udp", 1.5))'),
        ("self._limiting.add(address)", "pass"),
        ("self._without_tcp.add(address)", "pass"),
        ("routed=not isinstance(error, NoRoute)", "routed=False"),
        ("raise_on_truncation=True", "raise_on_truncation=False"),
    ),
    *_of("adapters/tls", "name_servers", ("        if left <= 0:", "        if False:")),
    *_of("adapters/revocation", "revocation", ("            resp.close()", "            pass")),
    *_of(
        "adapters/dns_zones",
        "name_servers",
        ("if not reply.message.flags & dns.flags.AA:", "if False:"),
        (
            'error = self.failed.get(address, "") if address else "it has no address"',
            'error = ""',
        ),
        ("- {zone.name}:", "and False:"),
        ("if addresses and host in self.unresolved:", "if False:"),
        ("_add_delegation(self._zones[apex], reply, above[apex])", "pass"),
    ),
    *_of(
        "adapters/name_servers",
        "name_servers",
        ("LOOKS, MANY_LOOKS = 8, 32", "LOOKS, MANY_LOOKS = 1, 32"),
        ("LOOKS, MANY_LOOKS = 8, 32", "LOOKS, MANY_LOOKS = 8, 8"),
        ("return sorted(alias for alias in found if alias)", "return []"),
        ("max(one.ttl, self.ttl, largest.get(key, 0))", "one.ttl"),
        ("max([ttl, *(one.original_ttl for one in signatures)])", "ttl"),
        ("for one in message.answer if name.is_subdomain(one.name)", "for one in ()"),
        (
            '    if reply.error:\n        return f"the records of {port}',
            '    if False:\n        return f"the records of {port}',
        ),
        ("set(found.values()) - set(ports)", "set(found.values())"),
        ("max(one.expiration for one in rrset)", "min(one.expiration for one in rrset)"),
        ("min(seen.ends, default=None)", "max(seen.ends, default=None)"),
        ("0 < (oldest - one) % (1 << 32) < 1 << 31", "one < oldest"),
        ("_error([*serials, *keys], zone)", '""'),
    ),
    *_of(
        "check/zone_rules",
        "zone_rules",
        ("if other.zone == one.zone", "if True"),
        ("_binds(one.records) for one in look.answers", "_binds(some) for _, some in _sets(look)"),
        ("if not port.routed:", "if False:"),
    ),
    *_of(
        "carriers/zones/credentials",
        "zones",
        ('return point.value.startswith(f"{_OURS}.")', "return False"),
        ("if len(named) != 1:", "if not named:"),
        ("(stat.S_IRWXG | stat.S_IRWXO)", "stat.S_IWOTH"),
    ),
    *_of(
        "carriers/zones/powerdns",
        "zones",
        ("if now[one.name] != one.after:", "if False:"),
        ("allow_redirects=False", "allow_redirects=True"),
        ('if not one.get("disabled"))', ")"),
        ("records += [dict(one) for one", "[dict(one) for one"),
        ("netloc.rpartition('@')[2]", "netloc"),
    ),
    # What is exported
    *_of(
        "exports/hosts",
        "exports",
        ("if pinned.still_served:", "if False:"),
        ('if one.role == "compromised":', "if False:"),
        ("if domain != host and domain not in listed:", "if False:"),
    ),
    # What setup makes and takes back
    *_of(
        "carriers/layout",
        "setup",
        ("return module.is_there and _ENABLED in", "return _ENABLED in"),
        ("and not _is_ours(_text(path), line):", "and not _text(path):"),
        ("if _HEADER.search(text)", "if False"),
        ("if _OVERRIDES.search(text)", "if False"),
        ("    yield from config.files if config else ()\n", ""),
        ("    if entry.target or _debian(kind):\n", "    if True:\n"),
    ),
    *_of(
        "adapters/certbots",
        "certbots",
        ('(systemd and "/run/systemd/system" in command)', "(systemd is None)"),
        ("if own and _is_masked(own):", "if False:"),
        ("search or usual", "usual"),
        ("if any(map(trust.exposed, (*scripts, words[0]))):", "if False:"),
        ('            env={"PATH": _PATH, "LC_ALL": "C.UTF-8"},', ""),
    ),
    *_of(
        "core/certbot_calls",
        "certbot_calls",
        ("if verb not in _OBTAINING or not _OBTAINS_NONE.isdisjoint(words):", "if False:"),
        ('keeps = keeps and "--new-key" not in words', "keeps = keeps and words"),
        ("if value else []", "if value else found.get(name, [])"),
    ),
    *_of(
        "cli/served",
        "pin",
        ("(found.pins, found.max_age) == (policy.pins, policy.max_age)", "True"),
        ("range(_LOOKS if again else 0)", "range(0)"),
        ("if report.pending:", "if False:"),
    ),
    *_of(
        "workflow/setup",
        "setup",
        ("            if missing:\n", "            if False:\n"),
        ("if failure := _failure(server):", 'if failure := "":'),
        ("            _restore(path, state)\n", "            break\n"),
        ("if changed and not _failure(server):", "if changed:"),
        ("            _take_untested_back(server, layout.made(kind, config_dir))\n", ""),
        ("            _change(server, file, without)\n", ""),
        ("        _change(server, [], made[::-1])\n", "        pass\n"),
        ("os.path.lexists(hook.path) and not os.path.islink(hook.path)", "False"),
    ),
)
