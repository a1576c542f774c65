"""Calibration with labeled images: thresholds, a temperature, prediction sets, and the limit for "none of these"."""
