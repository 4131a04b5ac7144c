"""The example nets: real data, trained networks, and the ONNX files that freeml is shown and tested with."""
