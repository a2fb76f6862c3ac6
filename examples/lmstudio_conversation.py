"""Keep a model in LM Studio's memory, and a conversation on its side (0.4.0 and newer).

Usage: python examples/lmstudio_conversation.py [MODEL] [QUESTION ...]
"""

import sys

from localproviders import LMStudioProvider, ProviderError

QUESTIONS = ("Which is the highest mountain of Norway?", "And how high is it?")


def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 else "qwen/qwen3-4b"
    last = None
    try:
        with LMStudioProvider(model=model) as studio, studio.resident(model) as loaded:
            print(f"[{loaded.name}: {loaded.context_length} tokens]", *loaded.warnings)
            for question in sys.argv[2:] or QUESTIONS:
                # Only what is new is sent: the server has kept the rest.
                answer = studio.stateful_chat(question, previous_response_id=last)
                print(f"> {question}\n{answer.text}")
                last = answer.response_id
    except ProviderError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
