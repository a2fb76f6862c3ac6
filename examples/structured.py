"""Extract facts from a letter, and print them as one line of JSON.

Usage: python examples/structured.py LETTER.txt
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional

from localproviders import OllamaProvider, SchemaError


@dataclass
class Letter:
    """The facts of a letter."""

    sender: str
    date: Optional[str]
    topics: List[str]
    wants_answer: bool


def main() -> None:
    text = Path(sys.argv[1]).read_text(encoding="utf-8")
    prompt = f"Return sender, date, topics and whether it wants an answer, as JSON:\n\n{text}"
    with OllamaProvider(model="llama3.2") as ollama:
        try:
            parsed = ollama.parse(prompt, Letter, temperature=0, max_tokens=500, timeout=300)
        except SchemaError as error:
            print(*error.reasons, sep="\n", file=sys.stderr)
            raise SystemExit(error.exit_code) from error
    print(f"{parsed.value.sender}: {', '.join(parsed.value.topics)}", file=sys.stderr)
    print(json.dumps(parsed.to_dict()["value"]))


if __name__ == "__main__":
    main()
