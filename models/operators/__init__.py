"""Torch modules of the operator kinds, what they cost, and seeded weights for them."""
