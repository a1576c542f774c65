"""XMP sidecars: tags where photo programs look for them. Needs the standard library only."""
