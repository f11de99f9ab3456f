"""Elyra, the visual pipeline editor of JupyterLab: a palette of the components, and pipelines drawn with it."""
