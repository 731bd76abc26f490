"""Entry point of `prism-proxy`."""

from __future__ import annotations

import sys

from prism_proxy.config import ConfigError, ProxyConfig, parse
from prism_proxy.server.lifecycle import StartError


def main(arguments: list[str] | None = None) -> None:
    """Run the proxy until it is told to stop; ends the process with exit code 0, 1 or 2."""
    try:
        config = parse(sys.argv[1:] if arguments is None else arguments)
    except ConfigError as error:
        sys.exit(_complain(str(error)))
    try:
        code = _run(config)
    except StartError as error:
        code = _complain(str(error))
    sys.exit(code)


def _run(config: ProxyConfig) -> int:
    if config.workers > 1:
        from prism_proxy.workers import supervisor

        return supervisor.run(config)
    import uvloop

    from prism_proxy import standalone

    return int(uvloop.run(standalone.run(config)))


def _complain(message: str) -> int:
    sys.stderr.write(f"prism-proxy: {message}\n")
    return 1


if __name__ == "__main__":
    main()
