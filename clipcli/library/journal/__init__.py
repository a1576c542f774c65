"""The output file of a run that can be resumed, and the file beside it with the run's settings."""
