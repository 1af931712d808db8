"""FasterSeg's search space (Chen et al., ICLR 2020): multi-resolution branches of sequential cells, with searchable widths."""
