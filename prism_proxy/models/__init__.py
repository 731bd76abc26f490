"""The data models: what a driver implements for each (`contract`), and what the proxy makes of it (`model`)."""
