"""Reading and writing ONNX models: the only place that imports onnx."""
