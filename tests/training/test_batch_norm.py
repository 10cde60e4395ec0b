"""The fused kernel computes what Keras's layer computes."""

import keras
import numpy as np
import tensorflow as tf

from model.u2net import u2net
from training.batch_norm import FusedBatchNormalization, with_fused_batch_norm


def test_training_output_and_gradients_are_those_of_keras():
    x = tf.constant(np.random.default_rng(0).normal(2, 3, (4, 8, 8, 16)).astype(np.float32))
    plain, fused = (
        kind(epsilon=1e-5, momentum=0.9)
        for kind in (keras.layers.BatchNormalization, FusedBatchNormalization)
    )
    results = []
    for layer in (plain, fused):
        layer.build(x.shape)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(y**3)
        results.append([y, *tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])])
    for expected, actual in zip(*results, strict=True):
        # float32 sums over 256 values in another order.
        np.testing.assert_allclose(actual, expected, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(fused.moving_mean.numpy(), plain.moving_mean.numpy(), rtol=1e-5)
    # Unbiased against biased: a factor 256 / 255 on the new value's tenth.
    expected = 0.9 + (plain.moving_variance.numpy() - 0.9) * 256 / 255
    np.testing.assert_allclose(fused.moving_variance.numpy(), expected, rtol=1e-4)


def test_a_swapped_network_keeps_names_weights_and_inference():
    network = u2net("lite", width=0.25)
    fused = with_fused_batch_norm(network)
    assert [layer.name for layer in fused.layers] == [layer.name for layer in network.layers]
    assert any(isinstance(layer, FusedBatchNormalization) for layer in fused.layers)
    x = np.random.default_rng(1).normal(size=(1, 32, 32, 3)).astype(np.float32)
    np.testing.assert_array_equal(network(x, training=False)[0], fused(x, training=False)[0])
