"""Keep a model loaded in LM Studio, and let the server store the conversation (from 0.4.0).

Usage: python examples/lmstudio_conversation.py [MODEL] [QUESTION ...]
"""

import sys

from localproviders import LMStudioProvider, ProviderError

QUESTIONS = ("What is the highest mountain in Norway?", "And how high is it?")


def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 else "qwen/qwen3-4b"
    last = None
    try:
        with LMStudioProvider(model=model) as studio, studio.keep_loaded(model) as loaded:
            print(f"[{loaded.name}: {loaded.context_length} tokens]", *loaded.warnings)
            for question in sys.argv[2:] or QUESTIONS:
                # Only the new question is sent, because the server has stored the earlier turns.
                answer = studio.stateful_chat(question, previous_response_id=last)
                print(f"> {question}\n{answer.text}")
                last = answer.response_id
    except ProviderError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
