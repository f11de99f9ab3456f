"""Delivery: model images, their signatures and tests, and promotion through a Git repository."""
