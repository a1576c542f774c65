"""Encoders in numpy for small jobs on the CPU: they answer before torch would have been imported."""
