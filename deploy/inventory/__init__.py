"""What an installation consists of: its packages, their licenses and hashes."""
