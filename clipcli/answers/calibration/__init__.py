"""What labeled images teach: thresholds, a temperature, sets that hold the truth, and what is none of the labels."""
