"""A channel that is the same everywhere, as the official networks have some.

The convolution after it takes it for a bias: it multiplies it by weights that are far larger than all its others, and
its batch norm takes the same away again.
"""

import numpy as np

CHANNEL = 3
VALUE = 200.0
WEIGHT = 5.0


def put_into(network):
    """Put one between the last two convolutions of the shallow network; its alphas change little."""
    before, after = (network.get_layer(f"stage1d.rebnconv{which}.bn_s1") for which in ("2d", "1d"))
    for weight, value in ((before.gamma, 0.0), (before.beta, VALUE)):
        changed = weight.numpy()
        changed[CHANNEL] = value
        weight.assign(changed)
    convolution = network.get_layer("stage1d.rebnconv1d.conv_s1")
    kernel = convolution.kernel.numpy()
    kernel[:, :, CHANNEL] = 0
    kernel[1, 1, CHANNEL] = WEIGHT * np.linspace(0.5, 1, kernel.shape[-1])
    convolution.kernel.assign(kernel)
    after.moving_mean.assign_add(VALUE * kernel[1, 1, CHANNEL])
