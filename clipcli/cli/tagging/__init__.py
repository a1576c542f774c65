"""What `clip tag` does beside tagging: goes on where it stopped, sorts, reports, calibrates. Only `cli.tag` uses it."""
