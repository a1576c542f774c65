"""From features to answers: pure functions of numpy matrices, so that cached features can be judged without a model."""
