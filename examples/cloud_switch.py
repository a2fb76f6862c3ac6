"""Use Ollama on your own machine, or a cloud service if the environment names one.

If CHAT_BASE_URL is set (such as https://api.example.com/v1), prompts go to that service, with
the key in CHAT_API_KEY. Otherwise they go to Ollama on this machine. CHAT_MODEL names the model.
"""

import os

from localproviders import ModelProvider, OllamaProvider, OpenAICompatibleProvider, SecretString


def make_provider() -> ModelProvider:
    base_url = os.environ.get("CHAT_BASE_URL")
    model = os.environ.get("CHAT_MODEL", "llama3.2")
    if not base_url:
        return OllamaProvider(model=model)
    key = SecretString.from_env("CHAT_API_KEY")
    # locality="any" allows prompts to leave this machine; the default does not.
    return OpenAICompatibleProvider(base_url, model=model, api_key=key, locality="any")


def main() -> None:
    with make_provider() as provider:
        answer = provider.chat("Why is the sky blue? One sentence.")
        print(f"{provider.name} / {answer.model}: {answer.text}")
        for warning in answer.warnings:
            print("warning:", warning)


if __name__ == "__main__":
    main()
