"""The clients that are measured, and the virtual environment of each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Dict, NamedTuple, Sequence, Tuple

ROOT = Path(__file__).resolve().parent.parent.parent

BASELINE, REQUESTS, OWN = "baseline", "requests", "localproviders"
BOTH = ("ollama", "openai")


class Client(NamedTuple):
    """A client that is measured.

    Attributes:
        name: The name in the tables.
        module: The name of its module in ``adapters``.
        imports: The modules that its user imports.
        packages: The packages that are installed for it. This package itself is not installed
            but imported from this clone.
        dialects: The APIs that it is measured with: ``ollama``, ``openai`` or both.
        environment: The name of its virtual environment; empty means the client's own name.
        rounds: The largest number of rounds in which it takes part.
        share: The share of the repetitions in a round that it makes.
    """

    name: str
    module: str
    imports: Tuple[str, ...]
    packages: Sequence[str]
    dialects: Sequence[str] = BOTH
    environment: str = ""
    rounds: int = 1000
    share: float = 1.0

    @property
    def is_peer(self) -> bool:
        """Whether this is one of the other clients, to which the goals compare this package."""
        return self.name not in (BASELINE, REQUESTS, OWN)


_BARE = ("requests==2.34.2", "urllib3==2.8.0")
CLIENTS: Dict[str, Client] = {
    client.name: client
    for client in (
        Client(BASELINE, "baseline", ("http.client", "json"), _BARE, environment="bare"),
        Client(REQUESTS, "requests_session", ("requests",), _BARE, environment="bare"),
        Client(OWN, "own", ("localproviders",), _BARE, environment="bare"),
        Client("ollama", "ollama_package", ("ollama",), ["ollama==0.6.3"], ["ollama"]),
        Client("openai", "openai_package", ("openai",), ["openai==3.57.0"], ["openai"]),
        # With all repetitions, this client would take longer than all others together. Its figures
        # are so far from those of the others that fewer repetitions are enough.
        Client(
            "litellm",
            "litellm_package",
            ("litellm",),
            ["litellm==1.110.2"],
            rounds=3,
            share=0.1,
        ),
    )
}


def python_of(client: Client, folder: Path) -> Path:
    """Return the Python of a client's environment; make or update the environment first."""
    home = folder / (client.environment or client.name)
    python = home / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    installed = home / "installed.txt"
    packages = "\n".join(client.packages)
    if not installed.exists() or installed.read_text(encoding="utf-8") != packages:
        print(f"installing {' '.join(client.packages)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, *client.packages], check=True)
        installed.write_text(packages, encoding="utf-8")
    return python
