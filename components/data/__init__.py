"""Bring data in, check it and split it."""
