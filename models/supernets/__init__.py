"""Weight-sharing supernets: every architecture of a search space in one network."""
