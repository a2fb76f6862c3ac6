"""See what every model of an Ollama server can do, and which are in memory.

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
                # The list can lack what the details know.
                known = ollama.model_capabilities(info.name)
                fact = known.evidence.get(ability)
                how = f"{fact.source}: {fact.detail}" if fact else "nobody knows"
                window = loaded.get(info.name, "not in memory")
                value = getattr(known, ability, None)
                print(f"{info.name}: {ability}={value} ({how}); window: {window}")
    except ProviderError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
