"""One module for each client: how a careful user would write the calls with it.

Each runs in the environment of its client. None imports more than it needs: what a module
here imports counts as the client's. The functions of each:

- ``connect(url, dialect)`` makes a client; `dialect` is ``ollama`` or ``openai``.
- ``stream(client, prompt)`` gives the text of a chat, event by event.
- ``chat(client, prompt)`` gives it whole: streamed on the wire, and collected.
- ``embed(client, texts, packed)`` gives the vectors; as base64 where `packed`.

Those that the tests try have ``close(client)``, too.
"""

MODEL = "bench"
