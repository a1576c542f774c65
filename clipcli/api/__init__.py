"""The Python API, which every command uses too: `Model`, its options, checks of this machine, and a benchmark."""
