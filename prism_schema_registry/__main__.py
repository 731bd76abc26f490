"""Entry point of `prism-schema-registry`."""

from prism_schema_registry.command import main

if __name__ == "__main__":
    main()
