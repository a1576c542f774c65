"""From sources to features: float32, unit length, shape (N, D). The pipeline, the reader and the cache."""
