"""Load generators that are processes of their own."""
