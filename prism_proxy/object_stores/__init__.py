"""Object stores: one contract, and a driver for each product. A library: it knows no server, namespace or slot."""
