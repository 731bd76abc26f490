"""How the tests are run: which belong to a lane, which run beside each other, and what a failed one is worth."""
