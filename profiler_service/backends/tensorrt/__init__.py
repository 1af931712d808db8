"""TensorRT and TensorRT-RTX: two runtimes with one API, hence two backends with one implementation.

request.py says what is to be built, building.py builds it, execution.py runs it, backend.py puts them together.
"""
