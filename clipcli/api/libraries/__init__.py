"""The features of whole folders: searched, and looked through for copies."""
