"""Pins for apps: iOS, Android, OkHttp, TrustKit. Pure.

Sources: Apple, "NSPinnedDomains" (Bundle Resources); Android, "Network security configuration";
OkHttp, ``CertificatePinner``; TrustKit, ``TrustKit.h``.
"""

from __future__ import annotations

import json
import plistlib
import xml.etree.ElementTree as ET
from typing import Any

from zope.interface import implementer

from certbot_pinkeep.exports import IExport, Pinned, Settings, hosts


@implementer(IExport)
class Ios:
    """For an app's Info.plist, from iOS 14 on. The keys are those of the leaf certificate."""

    told = "NSPinnedDomains for an app's Info.plist"

    def render(self, pinned: Pinned, settings: Settings) -> str:
        """A property list."""
        hosts.check_kept(pinned, "an iOS app")
        identities = [{"SPKI-SHA256-BASE64": one.pin} for one in pinned.pins]
        domains = {
            domain: {"NSIncludesSubdomains": whole, "NSPinnedLeafIdentities": identities}
            for domain, whole in hosts.with_subdomains(pinned, "an iOS app").items()
        }
        return _plist({"NSAppTransportSecurity": {"NSPinnedDomains": domains}})


@implementer(IExport)
class TrustKit:
    """For an app that uses TrustKit. Its default place for reports is somebody else's: it is off."""

    told = "TSKConfiguration for an app with TrustKit"

    def render(self, pinned: Pinned, settings: Settings) -> str:
        """A property list."""
        hosts.check_kept(pinned, "an app with TrustKit")
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
            for domain, whole in hosts.with_subdomains(pinned, "an app with TrustKit").items()
        }
        return _plist({"TSKConfiguration": {"TSKPinnedDomains": domains}})


@implementer(IExport)
class Android:
    """For res/xml/network_security_config.xml. From its expiration on, the app does not pin."""

    told = "network_security_config.xml for an Android app"

    def render(self, pinned: Pinned, settings: Settings) -> str:
        """The XML document."""
        hosts.check_kept(pinned, "an Android app")
        root = ET.Element("network-security-config")
        config = ET.SubElement(root, "domain-config")
        for domain, whole in hosts.with_subdomains(pinned, "an Android app").items():
            named = ET.SubElement(config, "domain", includeSubdomains=str(whole).lower())
            named.text = domain
        expires = {"expiration": settings.expires.isoformat()} if settings.expires else {}
        pins = ET.SubElement(config, "pin-set", expires)
        for one in pinned.pins:
            ET.SubElement(pins, "pin", digest="SHA-256").text = one.pin
        ET.indent(root, "    ")
        text = ET.tostring(root, encoding="unicode")
        return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


@implementer(IExport)
class OkHttp:
    """For Kotlin. ``*.`` stands for one label, ``**.`` for any number of them."""

    told = "a CertificatePinner for OkHttp, in Kotlin"

    def render(self, pinned: Pinned, settings: Settings) -> str:
        """An expression."""
        hosts.check_kept(pinned, "an app with OkHttp")
        patterns = list(hosts.named(pinned, "an app with OkHttp"))
        if pinned.policy.include_subdomains:
            patterns += [f"**.{host.removeprefix('*.')}" for host in patterns]
        lines = ["val certificatePinner = CertificatePinner.Builder()"]
        for pattern in dict.fromkeys(patterns):
            arguments = ",\n        ".join(
                [json.dumps(pattern), *(json.dumps(f"sha256/{one.pin}") for one in pinned.pins)]
            )
            lines.append(f"    .add(\n        {arguments},\n    )")
        return "\n".join([*lines, "    .build()", ""])


def _plist(content: dict[str, Any]) -> str:
    return plistlib.dumps(content, sort_keys=False).decode()


ios, trustkit, android, okhttp = Ios(), TrustKit(), Android(), OkHttp()
