"""Entry point of `prism-proxy`."""

from __future__ import annotations

import os
import sys

from prism_proxy.configuration.loader import Configuration, ConfigurationSource, source
from prism_proxy.configuration.problems import ConfigurationError
from prism_proxy.server.lifecycle import StartError
from prism_proxy.telemetry.standard_streams import open_standard_streams


def main(arguments: list[str] | None = None) -> None:
    """Run the proxy until it is told to stop, or one command, such as `verify`; ends with exit code 0, 1 or 2."""
    open_standard_streams()
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["config"]:
        from prism_proxy.configuration import commands

        sys.exit(commands.main(given[1:], dict(os.environ)))
    if given[:1] == ["keys"]:
        from prism_proxy.configuration import key_commands

        sys.exit(key_commands.main(given[1:], dict(os.environ)))
    if given[:1] == ["verify"]:
        from prism_proxy.backends.sqlite import verify

        sys.exit(verify.main(given[1:]))
    try:
        read = source(given)
        sys.exit(_run(read, read.load()))
    except ConfigurationError as error:
        sys.exit(_complain(error))
    except StartError as error:
        sys.exit(_complain(error))


def _run(read: ConfigurationSource, configuration: Configuration) -> int:
    if configuration.proxy.workers > 1:
        from prism_proxy.workers import supervisor

        return supervisor.run(read, configuration)
    import uvloop

    from prism_proxy import standalone

    return int(uvloop.run(standalone.run(read, configuration)))


def _complain(error: Exception) -> int:
    mistakes = str(error).splitlines()
    head = "" if len(mistakes) == 1 else f"{len(mistakes)} mistakes in the configuration\n"
    sys.stderr.write(f"prism-proxy: {head}" + "\n".join(mistakes) + "\n")
    return 1


if __name__ == "__main__":
    main()
