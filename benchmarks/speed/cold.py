"""Code for a process that runs once in a client's environment, without any warm-up.

It imports no module that would count as one of the client's modules. ``python -m`` would import
modules that a user's script does not import, so the process is started as
``python -c "from benchmarks.speed.cold import ..."``, with parameters in its arguments.
"""

from __future__ import annotations

import sys


def peak_kib() -> int:
    """Return the peak memory of this process so far, in KiB."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    except OSError:
        import resource

        # For systems without /proc. On Linux, ru_maxrss would include the memory of the process
        # that started this one.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // 1024 if sys.platform == "darwin" else peak


def one_shot() -> None:
    """Make one client object and one chat; print the length of the answer and the peak memory."""
    _, name, url, dialect = sys.argv
    path = "benchmarks.speed.adapters." + name
    __import__(path)
    module = sys.modules[path]
    text = module.chat(module.connect(url, dialect), "Hi")
    print(len(text), peak_kib())


def count_modules(*modules: str) -> None:
    """Import modules; print how many modules that loads, and 1 if `requests` is one of them."""
    before = len(sys.modules)
    for name in modules:
        __import__(name)
    print(len(sys.modules) - before, int("requests" in sys.modules))
