"""What identifies exported graphs; part of a target, hence readable without torch or onnx."""

from __future__ import annotations

EXPORTER_VERSION = 1
"""Raised whenever the same module would be exported as another graph or filled with other weights."""

OPSET = 18
"""Version of ONNX's default operator set in every graph."""
