"""One module for each client, with the calls as a careful user would write them.

Each module runs in the environment of its client. It imports as little as possible, because its
imports count as the client's. Each has these functions:

- ``connect(url, dialect)`` makes a client; `dialect` is ``ollama`` or ``openai``.
- ``stream(client, prompt)`` yields the text of a chat, event by event.
- ``chat(client, prompt)`` returns the complete text, which is streamed on the wire.
- ``embed(client, texts, packed)`` returns vectors; it asks for base64 if `packed` is true.
- ``decide(client, method, state)`` returns the likeliest answer to a question; only the modules of
  the bare clients and of this package have it. `method` is ``systemone`` or ``logprobs``.

The modules that the tests use also have ``close(client)``.
"""

MODEL = "bench"
