"""What the user keeps: sidecars, the journal of a run, sorted folders, the report page.

The modules here return results or yield events (see `events`); they print nothing and know no options.
"""
