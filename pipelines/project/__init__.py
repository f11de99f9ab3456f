"""A project for a table of one's own: look at the data, say what was seen, write what a run needs."""
