"""Replay the past through the sites: send rows, score a control, and tell what came of the loop month by month."""
