"""How objects may be compressed. Imports nothing: settings are read before anything is served."""

NONE, GZIP, ZSTD = "none", "gzip", "zstd"
COMPRESSIONS = (NONE, GZIP, ZSTD)
