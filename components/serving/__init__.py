"""Serving: MLServer over a model directory, with answers that name the model, and a log of the traffic."""
