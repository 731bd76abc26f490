"""The command line of `prism-admin`: the server, and what operators ask of one that runs."""
