"""A simulated machine for the unit tests and the model: certbot, the CA, a server, the clock, the network."""
