from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from app.inference.backends import tensorflow


def test_start_up_notes_of_native_libraries_become_debug_lines(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG), tensorflow._stderr_to_debug_log():
        os.write(2, b"E0000 no CUDA\nI0000 oneDNN is on\n")
    os.write(2, b"later\n")
    assert [record.getMessage() for record in caplog.records] == [
        "TensorFlow: E0000 no CUDA",
        "TensorFlow: I0000 oneDNN is on",
    ]
    assert capfd.readouterr().err == "later\n"


def test_keras_is_left_out_and_can_be_had_afterwards() -> None:
    program = """
import sys
from app.inference.backends.tensorflow import tensorflow
assert tensorflow() is sys.modules["tensorflow"]
assert not [name for name in sys.modules if name.startswith("keras")]
import keras
print(keras.layers.Dense(2)(tensorflow().ones((1, 3))).shape)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(1, 2)"
