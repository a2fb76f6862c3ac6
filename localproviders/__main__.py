"""The command ``python -m localproviders``."""

import sys
from pathlib import Path


def _leave_current_folder() -> None:
    """Remove the current folder from the module path, unless it contains this package.

    With ``-m``, Python puts the current folder first on the path. A file in this folder, such as
    ``subprocess.py``, would then be imported instead of the standard module of the same name.
    Modules that Python imports before this function runs cannot be protected in this way. The
    installed command ``localproviders`` never has the current folder on its path.
    """
    package_root = Path(__file__).resolve().parents[1]
    # With "-P" or "-I", Python does not add the folder. The first entry must then stay.
    is_safe = getattr(sys.flags, "safe_path", False) or sys.flags.isolated
    if not is_safe and sys.path and Path(sys.path[0]).resolve() != package_root:
        del sys.path[0]


def main() -> int:
    """Run the command line, and return its exit status."""
    try:
        # `_leave_current_folder` must change the path before the many modules below are imported.
        from localproviders.cli import main as run  # imported after the path has changed

        return run()
    except KeyboardInterrupt:  # Ctrl+C while the modules are imported
        return 130


if __name__ == "__main__":
    _leave_current_folder()
    sys.exit(main())
