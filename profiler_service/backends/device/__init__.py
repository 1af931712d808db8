"""NVIDIA devices, behind one small interface with two implementations (DESIGN.md §4)."""
