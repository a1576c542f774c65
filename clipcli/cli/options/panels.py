"""Under which heading of `--help` an option stands."""

INPUTS, LABELS, SCORING, MODEL, OUTPUT = "Inputs", "Labels", "Scoring", "Model", "Output"
SIDECARS, SORTING, CALIBRATION = "Sidecars", "Sorting", "Calibration"
QUERY, LIBRARY, ACTIONS, MAPS, SHARDS = "Query", "Library", "Actions", "Maps", "Shards"
ACCESS, LIMITS = "Access", "Limits"
# What few people ever need: shown by --help-all, and in the man pages.
EXPERT = frozenset(
    (
        *("include_hidden", "follow_symlinks", "max_megapixels", "no_exif", "exact_decode", "alpha"),
        *("temperature", "none_text", "batch_size", "workers", "no_cache", "text_cleaning", "revision", "profile"),
        *("no_progress", "fail_fast", "spreadsheet", "sidecar_name", "prefix", "raw_weights", "no_update", "font"),
        *("image_column", "key_column", "rows_per_shard", "tries", "retry_failed"),
    )
)
