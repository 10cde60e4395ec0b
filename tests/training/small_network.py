"""A network of two convolutions with U²-Net's inputs, outputs and names, that compiles in a moment."""

import keras

from training.engine import state

CHANNELS = 8


def small_network(_config=None):
    """`[N,H,W,3]` -> seven maps of logits: one convolution and batch norm like the encoder's, one per map."""
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(CHANNELS, 3, padding="same", name="stage1.rebnconvin.conv_s1")(image)
    x = keras.layers.BatchNormalization(name="stage1.rebnconvin.bn_s1", momentum=0.9)(x)
    x = keras.layers.ReLU(name="stage1.rebnconvin.relu_s1")(x)
    maps = [keras.layers.Conv2D(1, 1, name=f"side{i}", dtype="float32")(x) for i in range(7)]
    return keras.Model(image, maps, name="small")


def use(monkeypatch):
    """Runs are of the small network, until the test is over."""
    monkeypatch.setattr(state, "build_network", small_network)
