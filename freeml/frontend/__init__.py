"""Reading ONNX models: the only place that imports onnx."""
