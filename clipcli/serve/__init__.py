"""An HTTP server for a model that stays in memory: a page for people, endpoints for programs.

The engine makes batches of waiting images; the gate decides which requests are allowed; everything else turns requests
into questions of `api` and answers into the command line's documents. Needs the extra `serve`. Independent of terminals
and flags.
"""
