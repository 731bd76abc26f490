"""PubSub: broadcast by topic, with and without a log."""
