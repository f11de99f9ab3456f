"""Sites on this machine: an agent that serves what the configuration repository says."""
