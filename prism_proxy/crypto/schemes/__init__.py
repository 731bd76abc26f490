"""How a sender and a receiver come to the same data key, one module a family.

A scheme encrypts no payload: it makes 32 bytes for an AEAD, and what travels so that the receiver finds them.
"""
