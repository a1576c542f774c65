"""Options of the commands that learn from labelled images."""
