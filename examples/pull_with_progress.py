"""Download a model with a progress bar; a new run continues an interrupted download.

Usage: python examples/pull_with_progress.py [MODEL]
"""

import sys

from localproviders import OllamaProvider, Progress, ProviderError

WIDTH = 40


def show(report: Progress) -> None:
    if report.fraction is None:  # a step without a known size
        print(f"\n{report.status}", end="", flush=True)
    else:
        done = "#" * round(report.fraction * WIDTH)
        print(f"\r{report.status} [{done:<{WIDTH}}] {report.fraction:4.0%}", end="", flush=True)


def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 else "llama3.2"
    try:
        with OllamaProvider() as ollama:
            info = ollama.pull(model, on_progress=show)
    except KeyboardInterrupt:
        sys.exit("\nstopped; the next run continues from here")
    except ProviderError as error:
        print(f"\n{error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(f"\n{info.name}: {(info.size_bytes or 0) / 1e9:.1f} GB, {info.quantization}")


if __name__ == "__main__":
    main()
