"""Runs in the environment of a client, once and cold. It imports nothing of its own.

``python -m`` would load machinery that no script of a user loads, so it is started as
``python -c "import benchmarks.speed.cold"`` with the rest in the arguments.
"""

from __future__ import annotations

import sys


def peak_kib() -> int:
    """Give this process's greatest memory so far."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    except OSError:
        import resource

        # Elsewhere; on Linux it would count the process that started this one.
        found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return found // 1024 if sys.platform == "darwin" else found


def one_shot() -> None:
    """Make one client and one chat; print the length of its answer, and the peak."""
    _, name, url, dialect = sys.argv
    full = "benchmarks.speed.adapters." + name
    __import__(full)
    module = sys.modules[full]
    text = module.chat(module.connect(url, dialect), "Hi")
    print(len(text), peak_kib())


def weigh(*modules: str) -> None:
    """Import modules; print how many that loads, and whether requests is one."""
    before = len(sys.modules)
    for name in modules:
        __import__(name)
    print(len(sys.modules) - before, int("requests" in sys.modules))
