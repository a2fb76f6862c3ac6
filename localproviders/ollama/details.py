"""`ModelDetails`: everything that Ollama tells about one model."""

from __future__ import annotations

from typing import Any, Mapping, Optional, Tuple

from localproviders._record import CONTENT, RAW, Record, field, loads, loads_each, record
from localproviders.types.message import Message
from localproviders.types.model import ModelInfo


@record
class ModelDetails(Record):
    """One model in all detail, as ``/api/show`` gives it. None means that it has none.

    Attributes:
        info: What every provider tells about a model.
        license: Its licences, joined by newlines.
        template: The template of its prompts: Go's language, or Jinja.
        system: Its own system text.
        parameters: Its own settings by name, such as ``num_ctx``; ``stop`` is a list.
        messages: The conversation that it always begins with.
        modelfile: Text from which it could be made again. It names paths on the server.
        metadata: The file's own facts, such as ``general.architecture``. Long lists, such as
            the tokens, are None unless `show` was called with ``verbose=True``.
        projector: The same of its vision projector.
        families: Model families in its files.
        parent_model: The model that it was made from.
        requires: The oldest Ollama that can run it, where it says; nobody enforces that.
        raw: The server's own record, tensors included.
    """

    info: ModelInfo = field(metadata=loads(ModelInfo.from_dict))
    license: Optional[str] = None
    template: Optional[str] = field(default=None, metadata=CONTENT)
    system: Optional[str] = field(default=None, metadata=CONTENT)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    messages: Tuple[Message, ...] = field(
        default=(), metadata=loads_each(Message.from_dict, **CONTENT)
    )
    modelfile: Optional[str] = field(default=None, metadata=CONTENT)
    metadata: Mapping[str, Any] = field(default_factory=dict, metadata=CONTENT)
    projector: Mapping[str, Any] = field(default_factory=dict, metadata=CONTENT)
    families: Tuple[str, ...] = field(default=(), metadata=loads(tuple))
    parent_model: Optional[str] = None
    requires: Optional[str] = None
    raw: Optional[Mapping[str, Any]] = field(default=None, compare=False, metadata=RAW)
