"""The command line: one module a command, shared options, renderers. Only this room imports typer and rich.

Modules here are imported by `clip --help`, so they import numpy, PIL, torch and the rooms that need them inside functions.
"""
