"""Entry point of `prism-proxy`."""

from __future__ import annotations

import sys

from prism_proxy.config import ConfigError, parse


def main(arguments: list[str] | None = None) -> None:
    """Run the proxy until it is told to stop; ends the process with exit code 0, 1 or 2."""
    try:
        config = parse(sys.argv[1:] if arguments is None else arguments)
    except ConfigError as error:
        sys.exit(_complain(str(error)))
    import uvloop

    from prism_proxy.app import App, StartError

    try:
        code = uvloop.run(App(config).run())
    except StartError as error:
        code = _complain(str(error))
    sys.exit(code)


def _complain(message: str) -> int:
    sys.stderr.write(f"prism-proxy: {message}\n")
    return 1


if __name__ == "__main__":
    main()
