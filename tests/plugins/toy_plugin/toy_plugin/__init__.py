"""A search space, an operator kind, a data set and a backend for opclock."""
