"""What a cluster needs, and the template of the configuration repository."""
