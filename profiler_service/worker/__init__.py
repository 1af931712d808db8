"""What runs in spawned processes, and nothing else: graphs are made, engines are built, checked and timed."""
