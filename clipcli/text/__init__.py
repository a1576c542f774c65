"""Texts to token ids, exactly as each family's authors run it. Imports neither torch nor the other rooms."""
