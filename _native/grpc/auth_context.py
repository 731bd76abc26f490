"""Who a TLS connection says its peer is, in the words of grpcio's `auth_context` and `peer_identities`.

What Python's ssl does not tell is left out: the server name that was asked for, and the group of the key exchange.
"""

from __future__ import annotations

import ssl
from typing import Any

_SHORT = {"commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU", "countryName": "C",
          "stateOrProvinceName": "ST", "localityName": "L"}
_OF_ITS_OWN = {"DNS": "peer_dns", "URI": "peer_uri", "email": "peer_email", "IP Address": "peer_ip"}


def identities(connection: Any) -> tuple[str | None, list[bytes] | None]:
    """(key, values) of the names in the peer's certificate; None without one."""
    context = auth_context(connection)
    for key in ("x509_subject_alternative_name", "x509_common_name"):
        if key in context:
            return key, context[key]
    return None, None


def auth_context(connection: Any) -> dict[str, list[bytes]]:
    """For an `ssl.SSLObject`, or None of a connection in cleartext."""
    if connection is None:
        return {"transport_security_type": [b"insecure"], "security_level": [b"TSI_SECURITY_NONE"]}
    found = {"transport_security_type": [b"ssl"], **_certificate(connection)}
    return {**found, "security_level": [b"TSI_PRIVACY_AND_INTEGRITY"],
            "ssl_session_reused": [b"true" if connection.session_reused else b"false"],
            "ssl_tls_version": [str(connection.version()).encode()]}


def _certificate(connection: Any) -> dict[str, list[bytes]]:
    certificate = connection.getpeercert()
    if not certificate:
        return {}
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    found: dict[str, list[bytes]] = {
        "x509_subject": [",".join(f"{_SHORT.get(key, key)}={value}" for key, value in reversed(subject)).encode()],
        "x509_pem_cert": [ssl.DER_cert_to_PEM_cert(connection.getpeercert(True)).encode()]}
    common = [value.encode() for key, value in subject if key == "commonName"]
    if common:
        found["x509_common_name"] = common[:1]
    for kind, value in certificate.get("subjectAltName", ()):
        if kind in _OF_ITS_OWN:
            found.setdefault("x509_subject_alternative_name", []).append(value.encode())
            found.setdefault(_OF_ITS_OWN[kind], []).append(value.encode())
    return found
