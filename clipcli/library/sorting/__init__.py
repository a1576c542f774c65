"""Images sorted into one folder per label, by links, copies or moves, and taken back."""
