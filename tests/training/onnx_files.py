"""U²-Net as an ONNX file, node by node as PyTorch's exporter writes it. Knows nothing of the code under test.

`folded`: batch norm in the convolutions, whose weights are then named by numbers; else `BatchNormalization` nodes and
the official names. Sizes are computed in the graph, from the shape of the map that is to be joined.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

EPSILON = 1e-5
ENCODER = {"stage1": 7, "stage2": 6, "stage3": 5, "stage4": 4, "stage5": 0, "stage6": 0}
DECODER = {"stage5d": 0, "stage4d": 4, "stage3d": 5, "stage2d": 6, "stage1d": 7}


class Exporter:
    """The parts of a graph; a subclass may write one otherwise."""

    def __init__(self, tensors, *, folded=True, epsilon=EPSILON):
        self.tensors, self.folded, self.epsilon = tensors, folded, epsilon
        self.nodes, self.initializers, self.count = [], [], 800

    def number(self):
        self.count += 1
        return str(self.count)

    def node(self, kind, *inputs, **attributes):
        output = self.number()
        self.nodes.append(helper.make_node(kind, list(inputs), [output], f"{kind}_{output}", **attributes))
        return output

    def constant(self, value, name=None):
        name = name or self.number()
        self.initializers.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def convolution(self, x, name, kernel, bias, dilation):
        around = [dilation * (kernel.shape[2] - 1) // 2] * 4
        sides = {
            "kernel_shape": kernel.shape[2:],
            "strides": [1, 1],
            "pads": around,
            "dilations": [dilation] * 2,
        }
        weights = [
            self.constant(kernel, name and f"{name}.weight"),
            self.constant(bias, name and f"{name}.bias"),
        ]
        return self.node("Conv", x, *weights, group=1, **sides)

    def layer(self, name, x, dilation=1):
        kernel, bias = (self.tensors[f"{name}.conv_s1.{part}"] for part in ("weight", "bias"))
        norm = [
            self.tensors[f"{name}.bn_s1.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        ]
        if self.folded:
            gain = norm[0] / np.sqrt(norm[3] + self.epsilon)
            kernel, bias = kernel * gain[:, None, None, None], (bias - norm[2]) * gain + norm[1]
            x = self.convolution(x, None, kernel.astype(np.float32), bias.astype(np.float32), dilation)
        else:
            x = self.convolution(x, f"{name}.conv_s1", kernel, bias, dilation)
            names = [self.constant(value, f"{name}.bn_s1.{i}") for i, value in enumerate(norm)]
            x = self.node("BatchNormalization", x, *names, epsilon=self.epsilon)
        return self.node("Relu", x)

    def pool(self, x):
        return self.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], pads=[0] * 4, ceil_mode=1)

    def joined(self, *parts):
        return self.node("Concat", *parts, axis=1)

    def resized(self, x, like, mode="linear"):
        head = self.node(
            "Slice", self.node("Shape", x), self.constant([0]), self.constant([2]), self.constant([0])
        )
        tail = self.node(
            "Slice", self.node("Shape", like), self.constant([2]), self.constant([4]), self.constant([0])
        )
        sizes = self.node("Concat", head, tail, axis=0)
        way = {"mode": mode, "coordinate_transformation_mode": "pytorch_half_pixel"}
        return self.node("Resize", x, "", "", sizes, **way)

    def block(self, stage, levels, x):
        def layer(suffix, x, dilation=1):
            return self.layer(f"{stage}.rebnconv{suffix}", x, dilation)

        entry = layer("in", x)
        if levels == 0:
            first = layer("1", entry)
            second = layer("2", first, 2)
            third = layer("3", second, 4)
            x = layer("3d", self.joined(layer("4", third, 8), third), 4)
            x = layer("2d", self.joined(x, second), 2)
            return self.node("Add", layer("1d", self.joined(x, first)), entry)
        skips = [layer("1", entry)]
        for level in range(2, levels):
            skips.append(layer(str(level), self.pool(skips[-1])))
        x = layer(str(levels), skips[-1], 2)
        for level in range(levels - 1, 0, -1):
            skip = skips.pop()
            x = layer(f"{level}d", self.joined(x if level == levels - 1 else self.resized(x, skip), skip))
        return self.node("Add", x, entry)

    def entry(self, x):
        return x

    def network(self):
        """Names of the seven alphas, fused first."""
        x, features = self.entry("input.1"), []
        for stage, levels in ENCODER.items():
            x = self.block(stage, levels, self.pool(x) if features else x)
            features.append(x)
        maps = [features.pop()]
        for stage, levels in DECODER.items():
            skip = features.pop()
            maps.insert(0, self.block(stage, levels, self.joined(self.resized(maps[0], skip), skip)))
        sides = []
        for level, x in enumerate(maps, 1):
            name = f"side{level}"
            side = self.convolution(x, name, self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"], 1)
            sides.append(self.resized(side, sides[0]) if sides else side)
        weights = self.tensors["outconv.weight"], self.tensors["outconv.bias"]
        fused = self.convolution(self.joined(*sides), "outconv", *weights, 1)
        return [self.node("Sigmoid", each) for each in (fused, *sides)]

    def model(self, size=320, opset=13):
        outputs = self.network()
        picture = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [1, 3, size, size])
        alphas = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, size, size]) for name in outputs
        ]
        graph = helper.make_graph(self.nodes, "torch-jit-export", [picture], alphas, self.initializers)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7, producer_name="pytorch"
        )


def write(path, tensors, exporter=Exporter, size=320, **options):
    onnx.save(exporter(tensors, **options).model(size), path)
    return path
