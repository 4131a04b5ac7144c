"""The graph: frozen values and nodes, no ONNX, no torch, no numerics."""
