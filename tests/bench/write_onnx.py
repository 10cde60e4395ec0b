"""A network that `onnx_export` saved becomes an ONNX file; run in the peer's Python, which has `onnx`.

    PEER/bin/python tests/bench/write_onnx.py FOLDER OUT.onnx [PICTURE.npy ALPHA.npy]

With a picture float32 `[1,3,H,W]`, what ONNX Runtime makes of it is saved too. Imports nothing of this project.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

OPSET = 18  # The first whose Resize takes axes.


def model_from(folder: Path) -> onnx.ModelProto:
    graph = json.loads((folder / "graph.json").read_text())
    with np.load(folder / "weights.npz") as weights:
        initializers = [numpy_helper.from_array(weights[name].copy(), name) for name in weights.files]
    nodes = [
        helper.make_node(node["op"], node["inputs"], [node["output"]], node["output"], **node["attributes"])
        for node in graph["nodes"]
    ]
    picture = helper.make_tensor_value_info(graph["input"], TensorProto.FLOAT, [1, 3, "height", "width"])
    alpha = helper.make_tensor_value_info(graph["output"], TensorProto.FLOAT, [1, 1, None, None])
    made = helper.make_graph(nodes, "network", [picture], [alpha], initializers)
    opset = helper.make_opsetid("", OPSET)
    # Older runtimes refuse a file format newer than themselves; the one that came with the opset is old enough.
    return helper.make_model(made, opset_imports=[opset], ir_version=helper.find_min_ir_version_for([opset]))


def main() -> None:
    folder, file, *check = map(Path, sys.argv[1:])
    model = model_from(folder)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, file)
    if check:
        picture, alpha = check
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        np.save(alpha, session.run(None, {session.get_inputs()[0].name: np.load(picture)})[0])


if __name__ == "__main__":
    main()
