"""Find the shards of a run, and read their rows."""
