"""How good a model is on labeled images, and what can be learned from them."""
