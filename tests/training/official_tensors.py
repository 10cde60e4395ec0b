"""Random tensors of a U²-Net under the official names and in PyTorch's layout."""

import functools

import numpy as np

from model.u2net import u2net

SMALL = ("lite", 0.25)  # 16 channels throughout


@functools.cache
def network_of(variant, width=1.0):
    """For those that leave its weights as they are."""
    return u2net(variant, width=width)


def official_tensors(variant, width=1.0):
    rng = np.random.default_rng(2)
    tensors = {}
    for layer in network_of(variant, width).layers:
        weights = {weight.name: tuple(weight.shape) for weight in layer.weights}
        if "kernel" in weights:
            high, wide, inner, outer = weights["kernel"]
            tensors[f"{layer.name}.weight"] = rng.normal(0, 0.05, (outer, inner, high, wide))
            tensors[f"{layer.name}.bias"] = rng.normal(0, 0.05, outer)
        elif "gamma" in weights:
            count = weights["gamma"][0]
            tensors[f"{layer.name}.weight"] = rng.uniform(0.5, 1.5, count)
            tensors[f"{layer.name}.bias"] = rng.normal(0, 0.1, count)
            tensors[f"{layer.name}.running_mean"] = rng.normal(0, 0.1, count)
            tensors[f"{layer.name}.running_var"] = rng.uniform(0.5, 1.5, count)
    floats = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
    return floats | {"stage1.rebnconvin.bn_s1.num_batches_tracked": np.array(7)}


def telling_tensors():
    """Of a small network whose alpha goes from nearly 0 to nearly 1, so that a wrong one shows."""
    tensors = official_tensors(*SMALL)
    for name, tensor in tensors.items():
        if name.endswith(".weight") and tensor.ndim == 4:
            tensors[name] = tensor * np.float32(20 * np.sqrt(2 / (tensor[0].size)))
    tensors["outconv.weight"] *= np.float32(2)
    return tensors
