"""The command line: one module a command, shared options, renderers. Only this room imports typer and rich.

`clip --help` imports every module here, so numpy, PIL, torch and the rooms that need them are imported in functions.
"""
