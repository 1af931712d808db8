"""Architecture search against a latency table, and the networks it ends in."""
