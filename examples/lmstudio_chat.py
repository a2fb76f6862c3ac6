"""Chat with LM Studio: list its models, then ask the first one that can chat.

Usage: python examples/lmstudio_chat.py
"""

from localproviders import LMStudioProvider


def main() -> None:
    with LMStudioProvider() as studio:
        models = studio.list_models()
        for info in models:
            window = info.capabilities.max_context_length
            print(f"{info.name}: chat={info.capabilities.chat}, context={window}")
        model = next((info.name for info in models if info.capabilities.chat), None)
        if model is None:
            raise SystemExit("LM Studio has no model that can chat: download one in the app")

        with studio.stream("Why is the sky blue?", model=model, max_tokens=200) as stream:
            for chunk in stream:
                print(chunk.text, end="", flush=True)
        answer = stream.result()
        print(f"\n[{answer.usage.completion_tokens} tokens in {answer.timings.total_s:.1f} s]")


if __name__ == "__main__":
    main()
