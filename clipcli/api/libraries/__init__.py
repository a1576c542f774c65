"""The features of whole folders, for search and for finding duplicates."""
