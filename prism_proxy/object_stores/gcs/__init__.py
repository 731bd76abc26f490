"""Google Cloud Storage, by obstore alone."""
