"""A web page that tells how likely a flight is to arrive late, served by the model at any site."""
