"""Writes the answers of models: as text while they arrive, or as JSON."""

from __future__ import annotations

from localproviders._http.stream import Stream
from localproviders.cli.run import Run


def write_answer(run: Run, answer: Stream) -> None:
    """Write a streamed answer, its line feed, and its warnings.

    With ``--json``, the complete answer is written as one line. Without it, the text is written
    while it arrives. It always ends with a line feed.

    Raises:
        ProviderError: The call failed. The text so far has been written.
        OutputError: The output cannot be written.
        BrokenPipeError: The reader of the pipe has closed it.
    """
    if run.arguments.json:
        run.output.write_json(answer.result().to_dict())
    else:
        _write_text(run, answer)
    response = answer.result()
    run.warn_all(response.warnings)
    if response.finish_reason == "length":
        run.warn("warning: the answer was cut, because it reached --max-tokens or the window")


def _write_text(run: Run, answer: Stream) -> None:
    last = ""
    try:
        for chunk in answer:
            if chunk.text:
                last = chunk.text
                run.output.write(last)
    finally:
        # After an error, its message begins on a new line of the terminal.
        if (last or run.output.is_terminal) and not last.endswith("\n"):
            run.output.write_line()
