"""Worked examples on real data, one folder each."""
