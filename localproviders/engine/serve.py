"""The program of the engine's process, which serves one model until its owner ends.

The owner is the process whose `LocalEngine` started this process. The owner writes the settings as
one line of JSON to the standard input of this process, and keeps this pipe open. When the pipe
closes, the owner has ended. When the model is loaded, this program writes the address of the server
as one line of JSON to the standard output.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from importlib import import_module
from typing import Any, Mapping

# Seconds between two checks whether the owner is still the parent process.
_WATCH_S = 1.0


def exit_with_owner(owner: int) -> None:
    """End this process when standard input ends, or when the owner is no longer the parent.

    The second check is needed if the owner has forked, because its children keep the pipe open.
    """

    def watch_pipe() -> None:
        while os.read(0, 4096):
            pass
        os._exit(0)

    def watch_parent() -> None:
        while os.getppid() == owner:
            time.sleep(_WATCH_S)
        os._exit(0)

    for watch in (watch_pipe, watch_parent):
        threading.Thread(target=watch, daemon=True).start()


def server_parameters(xllamacpp: Any, settings: Mapping[str, Any]) -> Any:
    """Return llama.cpp's parameters for the settings."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = settings["path"]
    parameters.model_alias = {settings["name"]}
    parameters.n_ctx = settings["context_length"]
    parameters.n_parallel = 1
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0  # any free port, which the server reports
    parameters.api_keys = [settings["api_key"]]
    # Only one thread is used. Several threads would spin while they wait for each other. On a
    # shared machine, this spinning made the engine six times slower.
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    parameters.embedding = settings["embedding"] or settings["rerank"]
    if settings["rerank"]:
        parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    if settings["template"] is not None:
        parameters.chat_template = settings["template"]
    parameters.antiprompt = list(settings["stop"])  # llama.cpp's name for the default `stop`
    return parameters


def main() -> None:
    """Serve the model until the owner ends."""
    settings = json.loads(_first_line())
    exit_with_owner(settings["owner"])
    # xllamacpp is an optional package without types. It is imported after the threads that watch
    # the owner have started, so that a slow or hanging import cannot outlive the owner.
    xllamacpp: Any = import_module("xllamacpp")
    server = xllamacpp.Server(server_parameters(xllamacpp, settings))
    sys.stdout.write(json.dumps({"address": server.listening_address}) + "\n")
    sys.stdout.flush()
    threading.Event().wait()


def _first_line() -> bytes:
    """Read a line byte by byte, so that no buffer takes bytes from `exit_with_owner`."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            sys.exit("the owner has ended")
        line += byte
    return line


if __name__ == "__main__":
    main()
