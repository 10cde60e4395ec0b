"""`python -m app key`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.__main__ import cli
from app.security.api_keys import KeyRing


def test_key_is_told_once_and_its_line_goes_where_it_is_sent(runner: CliRunner, tmp_path: Path) -> None:
    """As `python -m app key shop >> keys.txt` is meant: the line in the file, the key on the screen."""
    result = runner.invoke(cli, ["key", "shop", "--rate", "60"])
    assert result.exit_code == 0
    assert re.fullmatch(r"shop sha256:[0-9a-f]{64} rate=60\n", result.stdout)
    (secret,) = re.findall(r"^    (\S{43})$", result.stderr, re.MULTILINE)
    assert secret not in result.stdout
    file = tmp_path / "keys.txt"
    file.write_text(result.stdout)
    key = KeyRing(file=file).find(secret.encode())
    assert key is not None
    assert (key.name, key.rate) == ("shop", 60)


def test_rate_is_left_out_where_none_is_given(runner: CliRunner) -> None:
    assert "rate" not in runner.invoke(cli, ["key", "shop"]).output


@pytest.mark.parametrize("arguments", [["a b"], ["x" * 65], ["shop", "--rate", "-1"], []])
def test_what_can_be_no_key_is_refused(runner: CliRunner, arguments: list[str]) -> None:
    result = runner.invoke(cli, ["key", *arguments])
    assert result.exit_code != 0
    assert result.stdout == ""
