"""Write pins for apps: iOS, Android, OkHttp, TrustKit. Pure.

The rules:

* iOS pins subdomains one label deep, Android and TrustKit at any depth. For OkHttp ``*.`` is one label, and
  ``**.`` is any number of labels, also none.
* No app pins a name at which the policy does not bind. If a consumer cannot express all of the policy, the
  app pins less.
* TrustKit ends the app if it meets a kind of key that it does not know. So pinkeep exports no such key.

Sources: Apple, "NSPinnedDomains", "NSIncludesSubdomains" (Bundle Resources); Android, "Network security
configuration"; OkHttp, ``CertificatePinner``; TrustKit, ``TrustKit.h``, ``TSKSPKIHashCache.m``.
"""

from __future__ import annotations

import json
import plistlib
import xml.etree.ElementTree as ET
from typing import Any

from certbot_pinkeep.core.errors import BadExport
from certbot_pinkeep.core.kinds import KeyKind
from certbot_pinkeep.exports import Format, hosts
from certbot_pinkeep.exports.values import Pinned, Settings

#: The kinds of keys that TrustKit knows; RSA 3072 since its version 3.0.5.
_TRUSTKIT_KINDS = (
    KeyKind("rsa", "2048"),
    KeyKind("rsa", "3072"),
    KeyKind("rsa", "4096"),
    KeyKind("ecdsa", "secp256r1"),
    KeyKind("ecdsa", "secp384r1"),
)


def _ios(pinned: Pinned, settings: Settings) -> str:
    """Write for an app's Info.plist, from iOS 14 on. The keys are those of the leaf certificate."""
    hosts.check_kept(pinned, "An iOS app")
    identities = [{"SPKI-SHA256-BASE64": one.pin} for one in pinned.pins]
    domains = {
        domain: {"NSIncludesSubdomains": whole, "NSPinnedLeafIdentities": identities}
        for domain, whole in hosts.with_subdomains(pinned, "An iOS app", "one").items()
    }
    return _plist({"NSAppTransportSecurity": {"NSPinnedDomains": domains}})


def _trustkit(pinned: Pinned, settings: Settings) -> str:
    """Write for an app that uses TrustKit. TrustKit's default place for reports is off."""
    hosts.check_kept(pinned, "An app with TrustKit")
    _check_kinds(pinned)
    entry: dict[str, Any] = {
        "TSKEnforcePinning": not pinned.policy.report_only,
        "TSKDisableDefaultReportUri": True,
        "TSKPublicKeyHashes": [one.pin for one in pinned.pins],
    }
    if pinned.policy.report_uri:
        entry["TSKReportUris"] = [pinned.policy.report_uri]
    if settings.expires:
        entry["TSKExpirationDate"] = settings.expires.isoformat()
    domains = {
        domain: {**entry, "TSKIncludeSubdomains": whole}
        for domain, whole in hosts.with_subdomains(pinned, "An app with TrustKit", "any").items()
    }
    return _plist({"TSKConfiguration": {"TSKPinnedDomains": domains}})


def _android(pinned: Pinned, settings: Settings) -> str:
    """Write res/xml/network_security_config.xml. After its expiration the app does not pin."""
    hosts.check_kept(pinned, "An Android app")
    root = ET.Element("network-security-config")
    config = ET.SubElement(root, "domain-config")
    for domain, whole in hosts.with_subdomains(pinned, "An Android app", "any").items():
        named = ET.SubElement(config, "domain", includeSubdomains=str(whole).lower())
        named.text = domain
    expires = {"expiration": settings.expires.isoformat()} if settings.expires else {}
    pins = ET.SubElement(config, "pin-set", expires)
    for one in pinned.pins:
        ET.SubElement(pins, "pin", digest="SHA-256").text = one.pin
    ET.indent(root, "    ")
    text = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def _okhttp(pinned: Pinned, settings: Settings) -> str:
    """Write Kotlin. ``**.example.com`` is example.com as well, so a wildcard alone never becomes ``**.``."""
    hosts.check_kept(pinned, "An app with OkHttp")
    patterns = list(hosts.named(pinned, "An app with OkHttp"))
    if pinned.policy.include_subdomains:
        patterns += [f"**.{host}" for host in patterns if not host.startswith("*.")]
    lines = ["val certificatePinner = CertificatePinner.Builder()"]
    for pattern in dict.fromkeys(patterns):
        arguments = ",\n        ".join(
            [json.dumps(pattern), *(json.dumps(f"sha256/{one.pin}") for one in pinned.pins)]
        )
        lines.append(f"    .add(\n        {arguments},\n    )")
    return "\n".join([*lines, "    .build()", ""])


def _check_kinds(pinned: Pinned) -> None:
    for one in pinned.pins:
        if one.kind not in _TRUSTKIT_KINDS:
            raise BadExport(
                f"The keyring {pinned.name} pins a key that TrustKit does not know: {one.kind} "
                f"({one.pin}).",
                "TrustKit ends the app if it meets such a key. TrustKit knows "
                f"{', '.join(map(str, _TRUSTKIT_KINDS))}.",
            )


def _plist(content: dict[str, Any]) -> str:
    return plistlib.dumps(content, sort_keys=False).decode()


ios, okhttp = Format(_ios), Format(_okhttp)
trustkit, android = Format(_trustkit, "expires"), Format(_android, "expires")
