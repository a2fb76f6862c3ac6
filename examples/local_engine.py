"""Run a small model in a separate process, if no server is installed.

First run: python -m localproviders engine install
Usage: python examples/local_engine.py
"""

from localproviders import LocalEngine


def main() -> None:
    with LocalEngine("chat") as provider:
        with provider.stream("What is the capital of France?", max_tokens=40) as stream:
            for chunk in stream:
                print(chunk.text, end="", flush=True)
        print()

    with LocalEngine("embedding") as provider:
        response = provider.embed(["one text", "another text"])
        print(f"{len(response.vectors)} vectors of {response.dimensions} numbers")


if __name__ == "__main__":
    main()
