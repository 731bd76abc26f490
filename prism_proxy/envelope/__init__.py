"""Message envelopes (prism.envelope.v1): the same bytes for brokers, proxies and clients.

A library: it knows no server, no namespace and no slot. `writer` makes envelopes, `reader` opens them, `relay` admits
those that clients made themselves, `signature` signs and verifies, `attributes` are the fields that travel as metadata
`prism-*` of a call.
"""
