"""How good a model is on labelled images, and what can be learned from them."""
