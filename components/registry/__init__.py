"""Keep models: versions and aliases in MLflow."""
