"""Let a model call a Python function that lists the files of the current folder.

Usage: python examples/tools.py [QUESTION]
"""

import sys
from pathlib import Path
from typing import Dict

from localproviders import OllamaProvider, ProviderError, ToolStep


def list_files(pattern: str = "*") -> Dict[str, int]:
    """List the files of the current folder with their sizes in bytes.

    Args:
        pattern: A pattern of file names, such as *.txt; all files if left out.
    """
    if "/" in pattern or ".." in pattern:
        raise ValueError("the pattern must not name another folder")
    return {path.name: path.stat().st_size for path in sorted(Path().glob(pattern))}


def show(step: ToolStep) -> None:
    print(f"[{step.call.name}({step.call.arguments}): {step.error or 'done'}]")


def main() -> None:
    question = " ".join(sys.argv[1:]) or "Which file in this folder is the largest?"
    with OllamaProvider(model="llama3.2") as ollama:
        try:
            run = ollama.run_tools(question, [list_files], on_step=show, timeout=300)
        except ProviderError as error:
            print(error, file=sys.stderr)
            raise SystemExit(error.exit_code) from error
        print(run.text)


if __name__ == "__main__":
    main()
