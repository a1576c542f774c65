"""The networks: configs read from checkpoints, the towers of the three families, and strict loading of weights.

Module names follow the checkpoints' keys, so that what is on disk can be compared with what is in memory by name.
Must not import `images`, `text`, `labels` or anything above. `config` never imports torch; the rest does.
"""
