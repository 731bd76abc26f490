"""The shared suites, over every driver that can run here."""
