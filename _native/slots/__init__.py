"""What native handlers share with a slot: the circuit, and the count of calls at the backend."""
