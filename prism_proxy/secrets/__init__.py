"""Keys by reference, as a library: `PROVIDER://PATH[#VERSION]` names a key, a provider fetches it.

It imports no server, namespace or slot code, and no message of it quotes key material.
"""
