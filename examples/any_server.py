"""Ask the model that LOCALPROVIDERS_MODEL names, such as ollama/llama3.2, on any kind of server."""

from localproviders import create_provider


def main() -> None:
    with create_provider() as provider:
        answer = provider.chat("Why is the sky blue? One sentence.", max_tokens=100)
        print(f"{answer.provider} / {answer.model}: {answer.text}")


if __name__ == "__main__":
    main()
