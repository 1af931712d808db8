"""RSPNet's search space: one cell for all layers and scales, and the best two paths into each of its places."""
