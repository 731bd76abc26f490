"""Large payloads go to an object store, a claim on them through the broker. Imported where it is switched on."""
