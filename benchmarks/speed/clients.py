"""The clients that are measured, and an environment for each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Dict, NamedTuple, Sequence, Tuple

ROOT = Path(__file__).resolve().parent.parent.parent

FLOOR, REQUESTS, OWN = "floor", "requests", "localproviders"
BOTH = ("ollama", "openai")


class Client(NamedTuple):
    """A client.

    Attributes:
        name: As the tables say.
        module: Its module in ``adapters``.
        imports: What a user imports for it.
        packages: What is installed for it. This package itself is taken from this clone.
        dialects: The servers that it talks to.
        environment: The name of its environment.
        rounds: At most so many.
        share: How much of the repetitions of a round it makes.
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
        """Whether it is another client, as the table of goals counts them."""
        return self.name not in (FLOOR, REQUESTS, OWN)


_BARE = ("requests==2.34.2", "urllib3==2.8.0")
CLIENTS: Dict[str, Client] = {
    client.name: client
    for client in (
        Client(FLOOR, "floor", ("http.client", "json"), _BARE, environment="bare"),
        Client(REQUESTS, "requests_session", ("requests",), _BARE, environment="bare"),
        Client(OWN, "own", ("localproviders",), _BARE, environment="bare"),
        Client("ollama", "ollama_package", ("ollama",), ["ollama==0.6.3"], ["ollama"]),
        Client("openai", "openai_package", ("openai",), ["openai==3.57.0"], ["openai"]),
        # All repetitions would take longer than those of all others, and nothing here is near it.
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
    """Make the environment of a client where it is not there yet; give its Python."""
    home = folder / (client.environment or client.name)
    python = home / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    mark = home / "installed.txt"
    wanted = "\n".join(client.packages)
    if not mark.exists() or mark.read_text(encoding="utf-8") != wanted:
        print(f"installing {' '.join(client.packages)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, *client.packages], check=True)
        mark.write_text(wanted, encoding="utf-8")
    return python
