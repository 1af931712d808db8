"""TensorRT and TensorRT-RTX: two runtimes with one API, hence two backends with one implementation.

building.py builds engines, execution.py runs them, vendor.py finds the runtime, backend.py puts them together.
"""
