"""ONNX graphs from torch modules."""
