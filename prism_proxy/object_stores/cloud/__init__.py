"""What the stores of the clouds share: their bytes travel by obstore, an object store client in Rust."""
