"""The pipelines composed of the components, and what compiles, runs and launches them."""
