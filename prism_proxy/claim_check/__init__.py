"""Claims: references to payloads that an object store holds. A library, without servers, namespaces or drivers."""
