"""Real servers for tests: started on free ports, waited for, and stopped."""
