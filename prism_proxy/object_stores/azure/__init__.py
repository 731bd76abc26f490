"""Azure Blob Storage, by obstore alone."""
