"""What patterns ask of backends, as protocols. Neither side imports the other; both import this."""
