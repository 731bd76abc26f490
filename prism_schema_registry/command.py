"""`prism-schema-registry`"""

from __future__ import annotations

import asyncio
import gc
import os
import sys

from prism_runtime.standard_streams import complain, open_standard_streams, run_command
from prism_schema_registry.options import RegistryOptions, parse


def main(arguments: list[str] | None = None) -> None:
    """Ends the process: 0 when it was stopped, 1 for any error, 2 for a command line that cannot be."""
    open_standard_streams()
    given = sys.argv[1:] if arguments is None else arguments
    run_command("prism-schema-registry", lambda: _run(given))


def _run(given: list[str]) -> int:
    gc.disable()  # while it loads, nothing is garbage
    try:
        options = parse(given, os.environ)
    except ValueError as error:
        complain(f"prism-schema-registry: {error}")
        return 1
    return _serve(options)


def _serve(options: RegistryOptions) -> int:
    import uvloop

    from prism_runtime import log
    from prism_runtime.lifecycle import StartError
    from prism_runtime.storage.errors import StorageError
    from prism_runtime.tls import TlsError
    from prism_runtime.tokens import TokenError
    from prism_schema_registry.app import App

    log.configure(options.log_level, options.log_format)
    gc.enable()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(App(options).run())
    except (StartError, StorageError, TlsError, TokenError, OSError) as error:
        complain(f"prism-schema-registry: {error}")
        return 1
    return 0
