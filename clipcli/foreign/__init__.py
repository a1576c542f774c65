"""Checkpoints in other layouts than the hub's: recognized by what is in them, and turned into the hub's.

One module per layout. A layout's names become the hub's, what the shapes say becomes `config.json`, and what neither
the shapes nor the file say is asked for, never guessed. No code in a file is ever run. Only `convert` writes files.
"""
