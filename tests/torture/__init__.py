"""Campaigns of attacks and faults, each trial with a seed: `python -m tests.torture NAME --trials N --seed S`."""
