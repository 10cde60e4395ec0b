"""How a command ends early."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer

from app.cli import exit


def test_failure_is_one_line_and_1(capsys):
    with pytest.raises(typer.Exit) as caught:
        exit.fail("no such thing")
    assert caught.value.exit_code == 1
    assert capsys.readouterr().err == "no such thing\n"


def test_leaving_waits_for_no_thread():
    program = (
        "import threading\n"
        "from app.cli import exit as ending\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "ending.leave(7)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 7
