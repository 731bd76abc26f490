"""Entry point of `prism-proxy`. What it needs is imported where it is used, so that Ctrl-C finds `run_command`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from prism_runtime.standard_streams import complain, open_standard_streams, run_command

if TYPE_CHECKING:
    from prism_proxy.configuration.loader import Configuration, ConfigurationSource


def main(arguments: list[str] | None = None) -> None:
    """Run the proxy until it is told to stop, or one command, such as `verify`; ends with exit code 0, 1, 2 or 130."""
    open_standard_streams()
    given = sys.argv[1:] if arguments is None else arguments
    run_command("prism-proxy", lambda: _chosen(given))


def _chosen(given: list[str]) -> int:
    if given[:1] == ["config"]:
        from prism_proxy.configuration import commands

        return commands.main(given[1:], dict(os.environ))
    if given[:1] == ["keys"]:
        from prism_proxy.configuration import key_commands

        return key_commands.main(given[1:], dict(os.environ))
    if given[:1] == ["claims"]:
        from prism_proxy.configuration import claim_commands

        return claim_commands.main(given[1:], dict(os.environ))
    if given[:1] == ["verify"]:
        from prism_proxy.backends.sqlite import verify

        return verify.main(given[1:])
    from prism_proxy.configuration.loader import source
    from prism_runtime.configuration.problems import ConfigurationError
    from prism_runtime.lifecycle import StartError

    try:
        read = source(given)
        return _run(read, read.load(tls=True))
    except (ConfigurationError, StartError) as error:
        return _complain(error)


def _run(read: ConfigurationSource, configuration: Configuration) -> int:
    if configuration.proxy.workers > 1:
        from prism_proxy.processes import supervisor

        return supervisor.run(read, configuration)
    import uvloop

    from prism_proxy.processes import single

    return int(uvloop.run(single.run(read, configuration)))


def _complain(error: Exception) -> int:
    mistakes = str(error).splitlines()
    head = "" if len(mistakes) == 1 else f"{len(mistakes)} mistakes in the configuration\n"
    complain(f"prism-proxy: {head}" + "\n".join(mistakes))
    return 1


if __name__ == "__main__":
    main()
