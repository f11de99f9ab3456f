"""Train models and write model directories."""
