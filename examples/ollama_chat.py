"""Chat with Ollama: a complete answer, then a second turn as a stream.

Usage: python examples/ollama_chat.py [MODEL]
"""

import sys

from localproviders import Message, OllamaProvider


def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 else "llama3.2"
    with OllamaProvider(model=model) as ollama:
        question = Message.user("Why is the sky blue? One sentence.")
        first = ollama.chat([question], timeout=120)
        print(first.text)
        tokens = first.usage.total_tokens
        print(f"[{first.model}, {tokens} tokens, finish reason: {first.finish_reason}]")

        history = [question, first.message, Message.user("And at sunset?")]
        with ollama.stream(history, max_tokens=200) as stream:
            for chunk in stream:
                print(chunk.text, end="", flush=True)
        print()


if __name__ == "__main__":
    main()
