"""Where work happens: devices, the image pipeline, the text encoder, and the engine that joins them.

The seam to everything else is features: numpy float32, unit length, shape (N, D). Must not import `cli`.
"""
