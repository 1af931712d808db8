"""One page about a whole run, complete in itself."""
