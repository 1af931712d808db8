"""SEARCH-Net's search space (2023): a U of cells that are searched as in DARTS, with gated bottlenecks among the operators."""
