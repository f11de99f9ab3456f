"""The model directory: everything about a model that has to travel with it."""
