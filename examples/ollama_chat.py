"""Chat with Ollama: a whole answer, then a stream, then a second turn.

Usage: python examples/ollama_chat.py [model]
"""

import sys

from localproviders import Message, OllamaProvider


def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 else "llama3.2"
    with OllamaProvider(model=model) as ollama:
        question = Message.user("Why is the sky blue? One sentence.")
        first = ollama.chat([question], timeout=120)
        print(first.text)
        print(f"[{first.model}, {first.usage.total_tokens} tokens, end: {first.finish_reason}]")

        history = [question, first.message, Message.user("And at sunset?")]
        with ollama.stream(history, max_tokens=200) as stream:
            for chunk in stream:
                print(chunk.text, end="", flush=True)
        print()


if __name__ == "__main__":
    main()
