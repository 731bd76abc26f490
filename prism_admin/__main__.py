"""Entry point of `prism-admin`."""

from prism_admin.cli.main import main

if __name__ == "__main__":
    main()
