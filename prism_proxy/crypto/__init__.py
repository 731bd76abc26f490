"""Payload encryption and signatures as a library: it imports no server, namespace or slot code.

`algorithms` names what is approved and what is refused, `keys` holds key material, `schemes/` makes data keys,
`Sealer` encrypts and `Opener` decrypts single messages. Where keys come from is the business of `prism_proxy.secrets`.
"""
