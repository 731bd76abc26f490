"""Topics, streams and queues in a namespace's file, by the same writer, and so as durable, as its keys."""
