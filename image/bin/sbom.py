#!/usr/bin/env python3
"""Prints the image's bill of materials (SPDX 2.3, JSON): Debian's packages from mkosi's manifest, the
daemon's crates from Cargo.lock. Arguments: MANIFEST CARGO_LOCK VERSION SECONDS_SINCE_1970."""

import datetime
import json
import sys
import tomllib
from pathlib import Path


def package(kind, name, version, locator, checksum=None):
    """One SPDX package."""
    ident = "".join(c if c.isalnum() or c in ".-" else "-" for c in f"{kind}-{name}-{version}")
    entry = {
        "SPDXID": f"SPDXRef-{ident}",
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": locator,
            }
        ],
    }
    if checksum:
        entry["checksums"] = [{"algorithm": "SHA256", "checksumValue": checksum}]
    return entry


def packages(manifest, lock):
    """All of them: what the image's package manager put there, and what the daemon is linked from."""
    for found in json.loads(manifest)["packages"]:
        name, version, arch = found["name"], found["version"], found.get("architecture", "all")
        yield package("deb", name, version, f"pkg:deb/debian/{name}@{version}?arch={arch}&distro=trixie")
    for found in tomllib.loads(lock)["package"]:
        name, version = found["name"], found["version"]
        yield package("cargo", name, version, f"pkg:cargo/{name}@{version}", found.get("checksum"))


def main():
    """Prints the document; the same input gives the same bytes."""
    manifest, lock, version, seconds = sys.argv[1:]
    when = datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)
    parts = list(packages(Path(manifest).read_text(), Path(lock).read_text()))
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"godwit-image-{version}",
        "documentNamespace": f"urn:godwit:image:{version}:{seconds}",
        "creationInfo": {
            "created": when.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "creators": ["Tool: image/bin/sbom.py"],
        },
        "packages": parts,
        "relationships": [
            {
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": part["SPDXID"],
            }
            for part in parts
        ],
    }
    json.dump(document, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
