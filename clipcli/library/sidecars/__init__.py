"""XMP sidecars: tags where photo programs look for them.

Needs the standard library only; must not import another room. `clip tag` is who uses it.
"""
