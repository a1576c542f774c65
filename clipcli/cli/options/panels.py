"""Under which heading of `--help` an option stands."""

INPUTS, LABELS, SCORING, MODEL, OUTPUT = "Inputs", "Labels", "Scoring", "Model", "Output"
SIDECARS, SORTING, CALIBRATION = "Sidecars", "Sorting", "Calibration"
QUERY, LIBRARY, ACTIONS = "Query", "Library", "Actions"
