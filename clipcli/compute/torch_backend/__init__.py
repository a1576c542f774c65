"""Encoders that compute with torch: rearranged for speed, on the CPU, CUDA and MPS."""
