"""Run a batch in a process of its own, for tests that end this process.

Usage: python -m tests.promises.batch.programs.run OPTIONS, a JSON object with the keys ``source``,
``output`` and ``url``, and further arguments of `batch.run`. ``kind`` is the kind of the server.
``limit_bytes`` limits the size of each file. SIGTERM cancels the run. With ``progress``, the number
of rows with an answer is printed from time to time. The report is printed as JSON.
"""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

from localproviders import (
    CancelToken,
    LlamaCppProvider,
    OllamaProvider,
    RetryPolicy,
    batch,
)


def main() -> int:
    options = json.loads(sys.argv[1])
    source, output, url = (options.pop(name) for name in ("source", "output", "url"))
    limit = options.pop("limit_bytes", None)
    if limit is not None:
        import resource  # only where the system has it

        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    token = CancelToken()
    signal.signal(signal.SIGTERM, lambda *_: token.cancel())
    make: Any = LlamaCppProvider if options.pop("kind", "") else OllamaProvider
    if options.pop("progress", False):
        options["on_progress"] = lambda report: print(report.succeeded, flush=True)  # noqa: T201  # for the test
    retry = RetryPolicy(attempts=2, first_wait_s=0.01)
    named = {name: options.pop(name) for name in ("model", "api_key") if name in options}
    with make(url, retry=retry, **{"model": "llama3.2", **named}) as provider:
        report = batch.run(source, output, provider, cancel=token, **options)
    print(json.dumps({**report.to_dict(), "exit_code": report.exit_code}))  # noqa: T201  # for the test
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
