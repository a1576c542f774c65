"""Options of the commands that learn from labeled images."""
