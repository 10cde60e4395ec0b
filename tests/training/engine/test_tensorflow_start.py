"""TensorFlow starts without a word on a host without a GPU, and tells what it has to say where that helps."""

import subprocess
import sys

import pytest

# A TensorFlow that writes notes as its libraries do, past Python; `FAILS` makes its import fail.
TENSORFLOW = """
import os
os.write(2, b"E0000 failed call to cuInit\\n")
if os.environ.get("FAILS"):
    raise ImportError("libtensorflow is of another machine")

class config:
    @staticmethod
    def list_physical_devices(kind=None):
        os.write(2, b"W0000 Cannot dlopen some GPU libraries\\n")
        return []
"""
PROGRAM = """
import pathlib, sys
sys.path.insert(0, {fake!r})
from training.engine import tensorflow_start
tensorflow_start.NVIDIA_GPUS = pathlib.Path({gpus!r})
tensorflow_start.start_tensorflow()
tensorflow_start.start_tensorflow()
import os
os.write(2, b"said later")
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Standard error of a process that starts the TensorFlow above."""
    (tmp_path / "tensorflow.py").write_text(TENSORFLOW)

    def run(*, gpu):
        gpus = tmp_path if gpu else tmp_path / "none"
        program = PROGRAM.format(fake=str(tmp_path), gpus=str(gpus))
        return subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
        ).stderr

    return run


def test_without_a_gpu_the_notes_are_kept_back_and_later_words_are_not(start):
    assert start(gpu=False) == "said later"


def test_where_a_gpu_is_not_found_the_notes_say_why(start):
    assert "Cannot dlopen some GPU libraries" in start(gpu=True)


def test_where_it_cannot_be_imported_the_notes_are_shown(start, monkeypatch):
    monkeypatch.setenv("FAILS", "1")
    shown = start(gpu=False)
    assert "failed call to cuInit" in shown
    assert "libtensorflow is of another machine" in shown


@pytest.mark.slow
def test_the_real_one_starts_without_a_word():
    program = "from training.engine.tensorflow_start import start_tensorflow; start_tensorflow()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
