"""Monitoring: what the services saw, whether the model still fits, and what to do about it."""
