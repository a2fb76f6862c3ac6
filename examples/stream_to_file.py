"""Write an answer to a file from a cron job; the file appears only if the answer is complete.

Usage: python examples/stream_to_file.py OUTPUT "QUESTION"
Exit code: 0, or the `exit_code` of the error (the table is in docs/reliability.md).
"""

import os
import sys
from pathlib import Path

from localproviders import Limits, OllamaProvider, ProviderError


def main() -> int:
    output, question = Path(sys.argv[1]), sys.argv[2]
    unfinished = output.with_name(output.name + ".part")
    limits = Limits(idle_s=60, total_s=900)
    try:
        with OllamaProvider(model="llama3.2", timeout=limits) as ollama, unfinished.open(
            "w", encoding="utf-8"
        ) as file, ollama.stream(question) as stream:
            for chunk in stream:
                file.write(chunk.text)
    except ProviderError as error:
        print(error, file=sys.stderr)  # the text so far stays in the .part file
        return error.exit_code
    os.replace(unfinished, output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
