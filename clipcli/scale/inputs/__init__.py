"""Shards: which there are, and the rows that each of them holds."""
