"""Run a batch in a process of its own, for tests that end this process.

Usage: python -m tests.promises.batch.programs.run OPTIONS, a JSON object with the keys ``source``,
``output`` and ``url``, and further arguments of `batch.run`. ``limit_bytes`` limits the size of
each file. SIGTERM cancels the run. The report is printed as JSON.
"""

from __future__ import annotations

import json
import signal
import sys

from localproviders import CancelToken, OllamaProvider, RetryPolicy, batch


def main() -> int:
    options = json.loads(sys.argv[1])
    source, output, url = (options.pop(name) for name in ("source", "output", "url"))
    limit = options.pop("limit_bytes", None)
    if limit is not None:
        import resource  # only where the system has it

        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    token = CancelToken()
    signal.signal(signal.SIGTERM, lambda *_: token.cancel())
    retry = RetryPolicy(attempts=2, first_wait_s=0.01)
    with OllamaProvider(url, model="llama3.2", retry=retry) as provider:
        report = batch.run(source, output, provider, cancel=token, **options)
    sys.stdout.write(json.dumps({**report.to_dict(), "exit_code": report.exit_code}))
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
