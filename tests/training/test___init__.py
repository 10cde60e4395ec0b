"""What importing the package asks of TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

GRADIENT = """
import training
import tensorflow as tf

x = tf.Variable(tf.ones((1, 8, 8, 2)))
with tf.GradientTape() as tape:
    y = tf.reduce_sum(tf.nn.conv2d(x, tf.ones((3, 3, 2, 2)), 1, "SAME", dilations=2))
print(float(tf.reduce_sum(tape.gradient(y, x))))
"""


@pytest.mark.slow
def test_dilated_convolutions_have_gradients_on_every_cpu() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    done = subprocess.run(
        [sys.executable, "-c", GRADIENT],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=environment,
    )
    # Of the 9 taps on an 8 x 8 picture 64 (the middle), 48 (4 of them) and 36 (4) lie inside it, for 2 x 2 channels.
    assert done.stdout.strip() == str(4.0 * (64 + 4 * 48 + 4 * 36)), done.stderr
