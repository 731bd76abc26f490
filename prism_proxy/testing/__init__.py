"""What tests of drivers and patterns share; it ships with the package, so that third parties can run it."""
