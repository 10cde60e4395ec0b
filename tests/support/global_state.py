"""A training run seeds whatever draws by chance, and chooses a precision, for its whole process: after a test both
are forgotten, so that no test hangs on those before it."""

from __future__ import annotations

import os
import sys
from typing import Final

ONEDNN_BFLOAT16: Final = "auto_mixed_precision_onednn_bfloat16"


def forget_seeds_and_precision() -> None:
    # None stands for a module that a test has taken away.
    if sys.modules.get("keras") is None or sys.modules.get("tensorflow") is None:
        return
    import keras
    import tensorflow as tf

    if tf.compat.v1.random.get_seed(None) != (None, None):
        keras.utils.set_random_seed(int.from_bytes(os.urandom(4)))  # Python's and NumPy's, too
        tf.random.set_seed(None)
    keras.mixed_precision.set_global_policy("float32")
    if tf.config.optimizer.get_experimental_options().get(ONEDNN_BFLOAT16):
        tf.config.optimizer.set_experimental_options({ONEDNN_BFLOAT16: False})
