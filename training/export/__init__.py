"""Networks become files: artifacts and ONNX."""
