"""The 2013 New York flights: how to get them, and the parameters of the pipelines that run on them."""
