"""Models as ONNX graphs, and their execution by onnxruntime."""
