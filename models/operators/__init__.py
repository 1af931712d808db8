"""Torch modules of the operator kinds. Importing this package registers every built-in kind."""

from models.operators import convolution, head, resize, skip, zoomed

__all__ = ["convolution", "head", "resize", "skip", "zoomed"]
