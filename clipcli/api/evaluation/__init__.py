"""Evaluate a model on labeled images, and calibrate it with them."""
