"""Under which heading of `--help` an option stands."""

INPUTS, LABELS, SCORING, MODEL, OUTPUT = "Inputs", "Labels", "Scoring", "Model", "Output"
QUERY, LIBRARY, ACTIONS = "Query", "Library", "Actions"
