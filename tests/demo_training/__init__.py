"""How the demo model was made: fetch, render, train, export, evaluate.

It lies beside the model so that whoever doubts a figure on the model card can run it again (`make train-demo`). It is
no part of the wheel, nothing in the program imports it, and what it needs beyond the test extra is in requirements.txt.
"""
