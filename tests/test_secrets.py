"""No key, token or password is in the repository: detect-secrets reads all of its files, and asks nobody."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from detect_secrets import SecretsCollection
from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.settings import transient_settings

ROOT: Final = Path(__file__).parent.parent
# Digests and pins, and files that are no text.
NOT_READ: Final = ("model/artifacts/", "requirements.lock", "tests/fuzz/corpus/")
NO_SECRETS: Final = "IPPublicDetector"
# The tests' own keys are words that anybody may know.
WORDS: Final = "Secret Keyword"
PLANTED: Final = {
    "AWS Access Key": "key = 'AKIA" + "Q4J7XN2MZP5RWT6B'",
    "Private Key": "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n",
    "GitHub Token": "token: ghp_" + "a8Zk3Lq9Wm2Xc7Vb" + "1Nn5Ty6Uj4Hr0PsDfGe1",
    "Hex High Entropy String": "salt = '" + "9f86d081884c7d659a2feaa0c55ad015'",
    WORDS: "password = 'hunter" + "2and3'",
}


@contextmanager
def scanner() -> Iterator[SecretsCollection]:
    """With all of its plugins; what a comment `pragma: allowlist secret` stands beside is passed over."""
    kinds = get_mapping_from_secret_type_to_class().values()
    plugins = [{"name": kind.__name__} for kind in kinds if kind.__name__ != NO_SECRETS]
    heuristics = (
        "is_sequential_string",
        "is_potential_uuid",
        "is_likely_id_string",
        "is_templated_secret",
        "is_indirect_reference",
    )
    filters = [{"path": f"detect_secrets.filters.heuristic.{name}"} for name in heuristics]
    allowed = {"path": "detect_secrets.filters.allowlist.is_line_allowlisted"}
    with transient_settings({"plugins_used": plugins, "filters_used": [*filters, allowed]}):
        yield SecretsCollection(root=str(ROOT))


def found(paths: list[Path]) -> list[tuple[str, str, int]]:
    """(path, kind, line) of each."""
    with scanner() as secrets:
        for path in paths:
            secrets.scan_file(str(path))
        return sorted(
            (str(path).removeprefix(f"{ROOT}/"), secret.type, secret.line_number) for path, secret in secrets
        )


@pytest.mark.slow  # looks for each kind of secret in each line of all files
def test_repository_holds_no_secret() -> None:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("what belongs to the repository is known only where git is")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    names = [name for name in listed.stdout.decode().split("\0") if name and not name.startswith(NOT_READ)]
    assert "README.md" in names
    seen = found([ROOT / name for name in names if (ROOT / name).is_file()])
    secrets = [each for each in seen if not (each[1] == WORDS and each[0].startswith("tests/"))]
    assert secrets == []


@pytest.mark.parametrize("kind", PLANTED)
def test_planted_secret_is_found(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "settings.py"
    file.write_text(PLANTED[kind] + "\n", encoding="utf-8")
    assert kind in {each[1] for each in found([file])}
