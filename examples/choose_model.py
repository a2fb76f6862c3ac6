"""List the models of an Ollama server: whether each has an ability, and its context window.

Usage: python examples/choose_model.py [ABILITY]    such as tools, vision, thinking, embeddings
"""

import sys

from localproviders import OllamaProvider, ProviderError


def main() -> None:
    ability = sys.argv[1] if len(sys.argv) > 1 else "tools"
    try:
        with OllamaProvider() as ollama:
            loaded = {model.name: model.context_length for model in ollama.loaded_models()}
            for info in ollama.list_models():
                # The details of a model have facts that the list may lack.
                capabilities = ollama.model_capabilities(info.name)
                fact = capabilities.evidence.get(ability)
                source = f"{fact.source}: {fact.detail}" if fact else "unknown"
                window = loaded.get(info.name, "not in memory")
                value = getattr(capabilities, ability, None)
                print(f"{info.name}: {ability}={value} ({source}); context window: {window}")
    except ProviderError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
