"""What a search and a training have in common: configuration, checkpoints, journal, processes, a clean stop."""
