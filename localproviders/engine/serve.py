"""The engine's own process: serves one model until its owner lets go.

Run by `LocalEngine`. The settings come as one line of JSON on standard input, which then
stays open: its end is the owner's end. One line of JSON with the address goes to standard
output when the model is loaded.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from importlib import import_module
from typing import Any, Mapping

# How often to look whether the owner has been replaced as parent.
_WATCH_S = 1.0


def leave_with_owner(owner: int) -> None:
    """End this process when standard input ends, or when the owner is no longer the parent.

    The second way is for an owner that forked: its child holds the pipe open.
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
    """Give llama.cpp's parameters for our settings."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = settings["path"]
    parameters.model_alias = {settings["name"]}
    parameters.n_ctx = settings["context_length"]
    parameters.n_parallel = 1
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0  # a free one; the server says which
    parameters.api_keys = [settings["api_key"]]
    # More threads spin while they wait, and on a shared machine that costs six times.
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    parameters.embedding = settings["embedding"]
    if settings["template"] is not None:
        parameters.chat_template = settings["template"]
    return parameters


def main() -> None:
    """Serve until the owner lets go."""
    settings = json.loads(_first_line())
    leave_with_owner(settings["owner"])
    # An optional package without types; loaded once somebody watches over us.
    xllamacpp: Any = import_module("xllamacpp")
    server = xllamacpp.Server(server_parameters(xllamacpp, settings))
    sys.stdout.write(json.dumps({"address": server.listening_address}) + "\n")
    sys.stdout.flush()
    threading.Event().wait()


def _first_line() -> bytes:
    """Read a line from the descriptor itself, so that no buffer takes what follows."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            sys.exit("the owner has gone")
        line += byte
    return line


if __name__ == "__main__":
    main()
