"""M-FasterSeg's search space (Wu et al.): FasterSeg's with adaptive attention."""
