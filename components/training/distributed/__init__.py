"""Training on several machines: workers of one job, each with a share of the rows."""
