"""One module for each client, with the calls as a careful user would write them.

Each module runs in the virtual environment of its client. It imports as little as possible, because
its imports are measured as imports of the client. Each module has these functions:

- ``connect(url, dialect)`` makes a client; `dialect` is ``ollama`` or ``openai``.
- ``stream(client, prompt)`` yields the text of a chat, event by event.
- ``chat(client, prompt)`` returns the complete text of a chat. The server still streams it.
- ``embed(client, texts, packed)`` returns vectors; it asks for base64 if `packed` is true.
- ``decide(client, method, state)`` returns the likeliest answer to a question. Only the modules of
  `http.client`, of ``requests`` and of this package have it. `method` is ``systemone`` or
  ``logprobs``.
- ``decide_many(client, method, states)`` returns the answers about several states. Only the module
  of this package has it.

The modules that the tests use also have ``close(client)``.
"""

MODEL = "bench"
