"""A search space of a DAG with two kinds of its own, for opclock."""
