"""Loopline pipelines, compiled: one YAML per pipeline."""
