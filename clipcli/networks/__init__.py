"""The networks as their authors describe them, to be read, and how their weights are loaded."""
