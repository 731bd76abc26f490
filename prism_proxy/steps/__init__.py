"""The steps of a namespace's chain, one folder each. `standard.STEPS` lists them in their order."""
