"""Entry point of `prismctl`."""

from prismctl.main import main

if __name__ == "__main__":
    main()
