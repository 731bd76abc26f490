"""`prismctl schema …`: what producers, consumers and builds ask a schema registry, and what needs none."""
