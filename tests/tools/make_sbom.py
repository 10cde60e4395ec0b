"""Writes `dist/u2matte-<version>.cdx.json`: what a release is made of, each package with its version and licence.

    make sbom

CycloneDX JSON of the packages that the service needs in this environment, without those that only develop, test or
train it; installed from requirements.lock, it is the same to the byte each time. Prints licences as a table. Needs
the extra `release`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
NAME = "u2matte"
SERVICE = ("serve", "tensorflow")  # the extras that `make serve` installs

Bom = dict[str, Any]


def environment() -> Bom:
    """All that is installed here, as cyclonedx-py tells it."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", sys.prefix]
    options = ["--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible", "--of", "JSON"]
    done = subprocess.run([*command, *options], capture_output=True, check=True)
    return json.loads(done.stdout)


def runtime(bom: Bom) -> Bom:
    """Of it the service itself, and what it needs directly or through another package."""
    refs = {canonicalize_name(each["name"]): each["bom-ref"] for each in bom["components"]}
    refs[NAME] = bom["metadata"]["component"]["bom-ref"]
    needs = {refs[name]: sorted(refs[need] for need in names) for name, names in needed().items()}
    return bom | {
        "components": [each for each in bom["components"] if each["bom-ref"] in needs],
        "dependencies": [{"ref": ref, "dependsOn": needs[ref]} for ref in sorted(needs)],
    }


def needed() -> dict[str, set[str]]:
    """Each package that the service needs on this platform, and which ones that needs in turn.

    By the packages' own metadata, since cyclonedx-py counts whatever is installed and any extra of any of them names.
    """
    found: dict[str, set[str]] = {}
    waiting = [(NAME, extra) for extra in ("", *SERVICE)]
    while waiting:
        name, extra = waiting.pop()
        read = [Requirement(each) for each in metadata.requires(name) or []]
        wanted = [each for each in read if each.marker is None or each.marker.evaluate({"extra": extra})]
        new = {canonicalize_name(each.name) for each in wanted} - found.setdefault(name, set())
        found[name] |= new
        waiting += [
            (canonicalize_name(each.name), chosen)
            for each in wanted
            for chosen in ("", *each.extras)
            if canonicalize_name(each.name) in new
        ]
    return found


def licences(component: Bom) -> str:
    """As the package states them: an SPDX expression or id, else its own words."""
    stated = []
    for each in component.get("licenses", []):
        kind = each.get("license", {})
        stated.append(each.get("expression") or kind.get("id") or kind.get("name", "").rpartition(" :: ")[2])
    return ", ".join(sorted({*stated} - {""})) or "not stated"


def main() -> None:
    bom = runtime(environment())
    version = bom["metadata"]["component"]["version"]
    path = ROOT / "dist" / f"{NAME}-{version}.cdx.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(bom, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    for each in bom["components"]:
        print(f"{each['name']:28} {each['version']:14} {licences(each)[:80]}")
    print(f"{len(bom['components'])} packages in {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
