"""The data model Payload: payloads of any size, streamed to and from the messages of the other models."""
