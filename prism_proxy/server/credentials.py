"""TLS of a drop-in server from bytes, as grpc's own functions take them.

What `grpc.ssl_server_credentials` made is taken where callers show no certificates: whether they must is kept where
Python cannot see it, and must never be guessed. The function here takes the same arguments, and these too.
"""

from __future__ import annotations

import gc
import os
import ssl
from collections.abc import Sequence

import grpc

from prism_runtime.tls import TlsError, server_context

_OPAQUE = ("grpc does not tell what these credentials ask of callers: make them by "
           "prism_proxy.server.credentials.ssl_server_credentials, with the same arguments")


class ServerCredentials:
    """What a listener needs of TLS; it stays as it was made."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.current = context

    def reload_if_changed(self) -> bool:
        return False


def ssl_server_credentials(
    private_key_certificate_chain_pairs: Sequence[tuple[bytes, bytes]], root_certificates: bytes | None = None,
    require_client_auth: bool = False,
) -> ServerCredentials:
    """TLS 1.3 with one pair of key and chain (PEM); callers show certificates of `root_certificates` where required.
    ValueError as grpc's function, TlsError when what is given cannot be used."""
    if not private_key_certificate_chain_pairs:
        raise ValueError("At least one private key-certificate chain pair is required!")
    if len(private_key_certificate_chain_pairs) > 1:
        raise ValueError("one private key-certificate chain pair is served; choosing by server name is not")
    if require_client_auth and root_certificates is None:
        raise ValueError("Illegal to require client auth without providing root certificates!")
    context = server_context()
    key, chain = private_key_certificate_chain_pairs[0]
    file = os.memfd_create("prism-tls")  # ssl reads files only; this one is in memory and nobody else's
    try:
        os.write(file, key + b"\n" + chain)
        context.load_cert_chain(f"/proc/self/fd/{file}", password=_refuse_passphrase)
        if require_client_auth and root_certificates is not None:
            context.load_verify_locations(cadata=root_certificates.decode("ascii"))
            context.verify_mode = ssl.CERT_REQUIRED
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise TlsError(f"the key, the certificate chain or the root certificates cannot be used: {error}") from error
    finally:
        os.close(file)
    return ServerCredentials(context)


def of_grpc(credentials: grpc.ServerCredentials) -> ServerCredentials:
    """Those of `grpc.ssl_server_credentials([(key, chain)])`. TypeError for all others of grpc's.

    The object has no attributes, but the pairs that it keeps have; the collector's view leads to them. Any other form
    than the known one is not understood.
    """
    try:
        kept, *others = gc.get_referents(vars(credentials)["_credentials"])
        roots, pairs = kept
        found = [(pair.private_key, pair.certificate_chain) for pair in pairs]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise TypeError(_OPAQUE) from None
    if roots is not None or any(other is not None for other in others):
        raise TypeError(_OPAQUE)
    return ssl_server_credentials(found)


def _refuse_passphrase() -> str:
    raise TlsError("the private key is protected by a passphrase: give it without one")
