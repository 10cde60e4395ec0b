"""Three steps on one device and on two, told as JSON: `python -m tests.training.two_replicas`.

All pictures are the same, because batch norm sees each replica's part alone. The gradient is clipped, which must
happen after it is summed.
"""

import json

import keras
import numpy as np
import tensorflow as tf

from tests.training.small_network import small_network
from training.config import PhaseConfig, TrainConfig
from training.engine import state as states
from training.engine.train_step import StepResult, compile_train_step

CONFIG = TrainConfig(
    phases=(PhaseConfig(32, 20),), batch_size=4, learning_rate=0.01, warmup_steps=1, clip_norm=0.1
)
STEPS = 3


def result(strategy):
    keras.utils.set_random_seed(2)
    with strategy.scope():
        state = states.TrainState(CONFIG)
    step = compile_train_step(strategy, state, CONFIG)
    picture = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype(np.float32)
    part = CONFIG.batch_size // strategy.num_replicas_in_sync
    image = tf.constant(np.repeat(picture, part, axis=0))
    alpha = tf.cast(tf.reduce_mean(image, 3, keepdims=True) > 128, tf.float32)
    images, alphas = (
        strategy.experimental_distribute_values_from_function(lambda _, each=each: each)
        for each in (image, alpha)
    )
    results = [StepResult.read(step(images, alphas, tf.constant(0.0))) for _ in range(STEPS)]
    copies = [copy.numpy() for copy in strategy.experimental_local_results(state.weights)]
    return {
        "losses": [each.loss for each in results],
        "norms": [each.gradient_norm for each in results],
        "moving": state.moving.numpy().tolist(),
        "copies_differ_by": float(np.abs(copies[0] - copies[-1]).max()),
    }


if __name__ == "__main__":
    states.build_network = small_network
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    print(
        json.dumps(
            [
                result(tf.distribute.OneDeviceStrategy("/cpu:0")),
                result(tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])),
            ]
        )
    )
