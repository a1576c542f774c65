"""Label sets: find them, validate them, and expand them into prompts. Knows no model."""
