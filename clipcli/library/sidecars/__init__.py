"""XMP sidecars: tags where photo programs look for them.

`SidecarWriter` in `files` writes keywords, and takes them back.
"""
