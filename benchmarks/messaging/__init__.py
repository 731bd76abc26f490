"""What messages cost: the envelope, publishing, delivering, queueing."""
