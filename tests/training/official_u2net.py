"""The official U²-Net's forward pass in NumPy, read off the paper (Fig. 2 and 5) and the official module names.

In: a state dict by PyTorch's names, kernels `[out,in,3,3]`, and a normalised image `[N,3,H,W]`. Out: the seven maps
of logits `[N,1,H,W]`, fused first. Written apart from `model.u2net`: another layout, other operations, no Keras.
"""

import numpy as np

EPSILON = 1e-5
# Stage and how many levels its block has; 0: the flat block of stage 5 and 6, with dilations for levels.
ENCODER = {"stage1": 7, "stage2": 6, "stage3": 5, "stage4": 4, "stage5": 0, "stage6": 0}
DECODER = {"stage5d": 0, "stage4d": 4, "stage3d": 5, "stage2d": 6, "stage1d": 7}


def forward(tensors, image):
    features, x = [], image
    for stage, levels in ENCODER.items():
        x = block(tensors, stage, levels, pool(x) if features else x)
        features.append(x)
    maps = [features.pop()]
    for stage, levels in DECODER.items():
        skip = features.pop()
        maps.insert(0, block(tensors, stage, levels, joined(resized(maps[0], skip), skip)))
    sides = [resized(convolution(tensors, f"side{i + 1}", x, 1), image) for i, x in enumerate(maps)]
    kernel, bias = tensors["outconv.weight"][:, :, 0, 0], tensors["outconv.bias"]
    fused = np.einsum("oi,nihw->nohw", kernel, joined(*sides)) + bias[:, None, None]
    return [fused, *sides]


def block(tensors, stage, levels, x):
    def layer(suffix, x, dilation=1):
        name = f"{stage}.rebnconv{suffix}"
        return relu(norm(tensors, f"{name}.bn_s1", convolution(tensors, f"{name}.conv_s1", x, dilation)))

    entry = layer("in", x)
    if levels == 0:
        first = layer("1", entry)
        second = layer("2", first, 2)
        third = layer("3", second, 4)
        x = layer("3d", joined(layer("4", third, 8), third), 4)
        x = layer("2d", joined(x, second), 2)
        return layer("1d", joined(x, first)) + entry
    skips = [layer("1", entry)]
    for level in range(2, levels):
        skips.append(layer(str(level), pool(skips[-1])))
    x = layer(str(levels), skips[-1], 2)
    for level in range(levels - 1, 0, -1):
        skip = skips.pop()
        x = layer(f"{level}d", joined(resized(x, skip), skip))
    return x + entry


def convolution(tensors, name, x, dilation):
    kernel, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
    height, width = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (dilation, dilation), (dilation, dilation)))
    total = np.broadcast_to(bias[:, None, None], (len(x), len(bias), height, width)).copy()
    for row in range(3):
        for column in range(3):
            top, left = row * dilation, column * dilation
            part = padded[:, :, top : top + height, left : left + width]
            total += np.einsum("oi,nihw->nohw", kernel[:, :, row, column], part, optimize=True)
    return total


def norm(tensors, name, x):
    weight, bias, mean, variance = (
        tensors[f"{name}.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(variance + EPSILON) * weight + bias


def relu(x):
    return np.maximum(x, 0)


def joined(*parts):
    return np.concatenate(parts, axis=1)


def pool(x):
    """The largest of each 2 × 2 pixels; sizes are even here."""
    n, channels, height, width = x.shape
    return x.reshape(n, channels, height // 2, 2, width // 2, 2).max(axis=(3, 5))


def resized(x, like):
    """Bilinear, half-pixel centres, to the height and width of `like`."""
    rows, columns = (_weights(now, then) for now, then in zip(x.shape[2:], like.shape[2:], strict=True))
    return np.einsum("ah,nchw,bw->ncab", rows, x, columns, optimize=True)


def _weights(now, then):
    matrix = np.zeros((then, now), np.float32)
    for i in range(then):
        place = max((i + 0.5) * now / then - 0.5, 0)
        low = int(place)
        high = min(low + 1, now - 1)
        matrix[i, low] += 1 - (place - low)
        matrix[i, high] += place - low
    return matrix
