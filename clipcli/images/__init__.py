"""Pictures: which ones were named, what is in them, and the pixels that a model is shown."""
