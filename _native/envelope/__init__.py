"""Message envelopes: written, and scanned without a look at the payload."""
