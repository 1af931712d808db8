"""ONNX graphs of our modules, by one emitter per primitive; no framework exporter is involved."""
