"""NVIDIA devices, behind one small interface with two implementations (docs/measurement.md)."""
