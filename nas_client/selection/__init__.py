"""Selection of discrete networks from a trained supernet, by evolution under a table's latency."""
