"""HTTP over a resident model: a page for people, endpoints for programs.

The engine makes batches of whatever waits; the gate decides who may ask; everything else turns requests into questions
of `api` and answers into the command line's documents. Needs the extra `serve`. Knows no terminal and no flags.
"""
