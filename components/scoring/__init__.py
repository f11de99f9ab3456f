"""Scoring: predictions for tables of any size, partition by partition."""
