"""NATS: topics over core NATS, and over JetStream logs of topics, streams and queues."""
