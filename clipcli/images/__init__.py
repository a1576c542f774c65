"""Images: which ones were named, what is in them, and the pixels that a model is shown.

`find`, then `decode`, then `preprocess`. Needs PIL and numpy.
"""
