"""Fuzzing of a live proxy: what hostile or broken peers send must cost them, and nobody else, anything."""
