"""Methods, attributes and classes of other clients, and what to write in this package instead.

Only an error needs these tables: `_did_you_mean` imports them when an error is made.
"""

from __future__ import annotations

from typing import Mapping, Set, Tuple

#: For each method of a provider, the names of the same thing in other clients.
OTHER_METHODS: Mapping[str, str] = {
    "list_models": "list get_models list_local_models list_downloaded_models",
    "loaded_models": "ps list_loaded_models",
    "chat": "generate completions responses messages invoke complete_chat create_chat_completion"
    " create_completion create_message chat_completion completion predict respond run call ask"
    " generate_content text_generation create_response",
    "stream": "stream_chat chat_stream generate_stream stream_complete respond_stream"
    " generate_content_stream",
    "decide": "systemone decisions classify",
    "rerank": "rank rerank_documents compute_score",
    "count_tokens": "tokenize get_num_tokens get_num_tokens_from_messages",
    "model_info": "show get_model retrieve get_model_info",
    "render": "apply_chat_template apply_prompt_template",
    "settings": "base_url host url model api_key timeout headers api_base",
    "close": "aclose shutdown",
    "pull": "download download_model",
    "unload": "unload_model",
    "load": "load_model load_new_instance",
}

#: For each attribute of a value or an error, the names of the same thing in other clients.
OTHER_ATTRIBUTES: Mapping[str, str] = {
    "value": "text content parsed output_parsed choices message data result object output",
    "text": "content response output_text output replies generated_text answer completion"
    " delta_text result text_stream body",
    "thinking": "reasoning reasoning_content thoughts thinking_content",
    "finish_reason": "done_reason stop_reason done",
    "usage": "eval_count prompt_eval_count usage_metadata token_usage input_tokens output_tokens",
    "server_timings": "eval_duration prompt_eval_duration load_duration total_duration",
    "timings": "duration elapsed latency response_ms",
    "prompt_tokens": "input_tokens prompt_token_count prompt_eval_count",
    "completion_tokens": "output_tokens candidates_token_count completion_token_count eval_count",
    "total_tokens": "total total_token_count",
    "response_id": "id",
    "tool_calls": "function_calls tool_call function_call",
    "arguments": "args input kwargs parameters",
    "tool_call_id": "call_id",
    "id": "call_id tool_call_id",
    "result": "get_final_message get_final_completion get_final_text final_message collect"
    " until_done get_final_response",
    "steps": "intermediate_steps tool_calls",
    "vectors": "data dense_vecs index",
    "to_numpy": "shape dtype ndim astype reshape tolist mean dot cpu numpy",
    "name": "model id model_name model_id key model_key tool_name",
    "model": "default_model",
    "context_length": "context_window max_context_length n_ctx num_ctx",
    "vram_bytes": "size_vram",
    "modified_at": "created created_at modified",
    "size_bytes": "size size_on_disk",
    "completed_bytes": "completed",
    "total_bytes": "total",
    "expires_at": "expires until",
    "score": "relevance_score relevance similarity",
    "probability": "prob noul",
    "probabilities": "probs scores distribution",
    "mass": "label_mass x_label_mass",
    "document": "text content",
    "results": "data documents nodes rankings",
    "tokens": "count total length n_tokens input_tokens total_tokens",
    "status": "status_code code http_status response state",
    "message": "error detail msg reason",
    "server_message": "body",
    "content": "text parts",
    "raw": "raw_response response_metadata additional_kwargs",
    "to_dict": "get keys values items dict json model_dump model_dump_json to_json asdict copy"
    " _asdict",
    "replace": "model_copy evolve",
}

#: Advice about the attributes of other clients. Each row has three fields: the names of the
#: attributes and the names of the classes of this package, both separated by blanks; and the
#: advice.
ATTRIBUTE_ADVICE: Tuple[Tuple[str, str, str], ...] = (
    (
        "choices candidates generations outputs alternatives message",
        "CompletionResponse",
        "write .text for the text, .message for the message, and .tool_calls for the tool calls, "
        "each with .name and .arguments",
    ),
    (
        "choices candidates message delta generations",
        "CompletionChunk",
        "write .text for the text, and .tool_calls for the tool calls, each with .name and "
        ".arguments",
    ),
    (
        "choices delta message content response text_stream usage finish_reason tool_calls model",
        "Stream ToolStream",
        "iterate over it: each chunk has a .text; .result() returns the whole result",
    ),
    (
        "choices message usage finish_reason tool_calls model thinking warnings timings",
        "ToolRun",
        "the last answer is .response, with its .usage and more; the text is .text",
    ),
    (
        "size details parameters context_length context_window",
        "ModelInfo",
        "write .capabilities, with .size_bytes, .max_context_length, .parameter_size and more",
    ),
    ("text output result output_text final_output", "ToolStep", "write .content"),
    ("parsed output_parsed", "CompletionResponse", "call parse(messages, City) for a value"),
    (
        "value label result prediction verdict",
        "Decision",
        "write .answer; .probabilities has the probability of each possible answer",
    ),
    ("role", "CompletionResponse", "write .message.role, which is always 'assistant'"),
    (
        "function",
        "ToolCall",
        "write .name and .arguments, which is a dictionary already: leave json.loads out",
    ),
    ("embedding", "EmbeddingResponse", "write .vectors[0], or .vectors for all of them"),
    (
        "with_structured_output as_structured_llm structured_predict with_structured",
        "ModelProvider",
        "call parse(text, City), whose result has the value in .value",
    ),
    (
        "bind_tools predict_and_call chat_with_tools",
        "ModelProvider",
        "call run_tools(text, [function]), or pass tools=[function] to chat()",
    ),
    (
        "embeddings embed_documents embed_query get_text_embedding get_query_embedding encode"
        " get_text_embedding_batch create_embedding embed_content feature_extraction"
        " embed_text embed_texts embedding",
        "ModelProvider",
        "call embed(texts), whose result has the vectors in .vectors",
    ),
    (
        "models",
        "ModelProvider",
        "call list_models() for the list, and chat(messages) for an answer",
    ),
    ("llm", "ModelProvider", "call chat(messages, model=name)"),
    (
        "run_sync run_stream run_stream_sync iter",
        "ModelProvider",
        "call chat(text), or write parse(text, City).value",
    ),
    (
        "create_partial create_iterable create_with_completion extract",
        "ModelProvider",
        "write parse(text, City).value, or parse(text, List[City]).value for several",
    ),
    (
        "select choose gen choice",
        "ModelProvider",
        "write parse(text, Literal['yes', 'no']).value for one of several texts",
    ),
    ("beta", "ModelProvider", "call parse(messages, City), or chat(messages)"),
    (
        "ainvoke achat agenerate acomplete astream acompletion abatch",
        "ModelProvider",
        "all methods are synchronous: await asyncio.to_thread(provider.chat, text)",
    ),
    (
        "batch map generate_batch batch_generate",
        "ModelProvider",
        "call chat() in several threads: ThreadPoolExecutor(4).map(provider.chat, texts)",
    ),
    (
        "chats start_chat create_chat conversation memory history messages_history act_session",
        "ModelProvider",
        "keep the messages in a list, and pass the list to chat()",
    ),
    ("act agent create_agent", "ModelProvider", "call run_tools(text, [function])"),
    (
        "with_retry",
        "ModelProvider",
        "pass retry=RetryPolicy(attempts=3) to the constructor",
    ),
    (
        "with_fallbacks",
        "ModelProvider",
        "call create_fallback_provider([provider, other_provider])",
    ),
    (
        "bind with_config with_options options",
        "ModelProvider",
        "pass the options to each call, such as chat(text, temperature=0)",
    ),
)

#: For each public name of the package, the names of the same thing in other clients.
OTHER_PUBLIC_NAMES: Mapping[str, str] = {
    "OllamaProvider": "Client AsyncClient Ollama ChatOllama OllamaLLM OllamaEmbeddings"
    " OllamaChatGenerator OllamaGenerator ollama_client",
    "OpenAICompatibleProvider": "OpenAI AsyncOpenAI ChatOpenAI OpenAILike OpenAIEmbeddings"
    " AzureOpenAI OpenAIChatGenerator VLLM VLLMProvider",
    "LMStudioProvider": "LMStudio LMStudioClient",
    "LocalEngine": "Llama LlamaCpp LLM Engine AutoModelForCausalLM",
    "create_default_provider": "Provider get_provider default_provider init_chat_model auto",
    "create_fallback_provider": "Router FallbackProvider",
    "ProviderError": "ResponseError RequestError APIError OpenAIError APIStatusError Error"
    " LocalProvidersError LMStudioError HTTPError",
    "UnreachableError": "APIConnectionError ConnectionError ConnectError NetworkError"
    " ConnectTimeout",
    "LimitError": "APITimeoutError TimeoutError Timeout ReadTimeout TimeoutException",
    "AuthenticationError": "PermissionDeniedError Unauthorized",
    "ServerBusyError": "RateLimitError ServiceUnavailableError OverloadedError",
    "ServerError": "InternalServerError",
    "ModelNotFoundError": "NotFoundError",
    "RequestRejectedError": "BadRequestError UnprocessableEntityError InvalidRequestError",
    "ContextOverflowError": "ContextWindowExceededError ContextLengthExceededError"
    " LengthFinishReasonError",
    "AnswerError": "OutputParserException ValidationError JSONDecodeError",
    "Message": "ChatMessage HumanMessage SystemMessage AIMessage ToolMessage BaseMessage"
    " UserMessage AssistantMessage Messages",
    "CompletionResponse": "ChatCompletion ChatResponse GenerateResponse Response Completion"
    " ChatResult ModelResponse",
    "CompletionChunk": "ChatCompletionChunk StreamChunk Chunk",
    "EmbeddingResponse": "EmbedResponse EmbeddingsResponse CreateEmbeddingResponse Embedding",
    "CompletionRequest": "GenerateRequest ChatRequest Options GenerationConfig SamplingParams"
    " GenerateContentConfig",
    "Tool": "StructuredTool FunctionTool BaseTool Function",
    "Image": "ImageContent ImageBlock ImageUrl",
    "RetryPolicy": "Retry RetryConfig",
    "CancelToken": "CancellationToken",
    "ModelInfo": "Model ListResponse",
    "Parsed": "ParsedChatCompletion ParseResult",
}

#: Advice about the public names of other clients: the names, separated by blanks, and the advice.
PUBLIC_ADVICE: Tuple[Tuple[str, str], ...] = (
    (
        "tool function_tool beta_tool",
        "leave it out: pass the function itself, as in provider.run_tools(text, [function])",
    ),
    (
        "chat generate completion acompletion completions invoke text_completion responses",
        'write OllamaProvider(model="llama3.2").chat(text), or another provider',
    ),
    (
        "embed embeddings embedding aembedding",
        'write OllamaProvider(model="nomic-embed-text").embed(texts), or another provider',
    ),
    ("list ps pull show push", "write OllamaProvider().list_models(), .pull(model) and others"),
    (
        "pipeline llm model client connect",
        "write create_default_provider(), OllamaProvider() or another provider",
    ),
    ("stream stream_chat", "write OllamaProvider().stream(text), or another provider"),
    (
        "instructor from_openai patch from_provider",
        "leave it out: write provider.parse(text, City)",
    ),
    ("api_key api_base base_url", "pass it to the provider, as in OllamaProvider(host)"),
    (
        "AsyncOllamaProvider AsyncProvider AsyncLocalProvider",
        "all methods are synchronous: await asyncio.to_thread(provider.chat, text)",
    ),
)

#: For each class, advice about a constructor that is called with positional arguments.
POSITION_ADVICE: Mapping[str, str] = {
    "Tool": "pass the function itself, as in provider.run_tools(text, [function])",
    "Message": "write Message.user(text), or Message(role=..., content=...)",
    "Image": "write Image.from_path(Path(text)) or Image.from_bytes(data)",
    "Audio": "write Audio.from_path(Path(text)) or Audio.from_bytes(data)",
    "Limits": "write Limits(total_s=30)",
    "RetryPolicy": "write RetryPolicy(attempts=3)",
}

#: Attributes that hold a part of a value. Callers often look up a field of such a part on the value
#: itself.
PARTS: Tuple[str, ...] = ("usage", "response", "capabilities", "call")

#: Advice for a value that is used like its content. Each row has an attribute, and the advice for
#: values with this attribute. The first row that fits a value is used.
CONTENT_ADVICE: Tuple[Tuple[str, str], ...] = (
    ("value", "the value is .value"),
    ("steps", "the text is .text; .messages, .responses and .steps are tuples"),
    ("result", "iterate over it: each chunk has a .text; .result() returns the whole result"),
    ("text", "the text is .text; .to_dict() makes a dictionary"),
    ("score", "write .score, .index or .document"),
    ("results", "the documents with their scores are .results"),
    ("tokens", "the number is .tokens"),
    ("content", "the text is .content; .to_dict() makes a dictionary"),
    ("to_dict", "write the attribute; .to_dict() makes a dictionary"),
)


def words_for_attribute(value: object, name: str) -> str:
    """Return what to write for an attribute that a value does not have, or an empty string."""
    if _has(value, name):
        return ""  # a property raised the error, and its own text is better
    value_of_it = _fields(value).get("value")
    if isinstance(value_of_it, dict) and name in value_of_it:
        return f"write .value[{name!r}]"
    if value_of_it is not None and _has(value_of_it, name):
        return f"write .value.{name}"
    answers = _fields(value).get("answers")
    if isinstance(answers, Mapping) and name in answers:
        return f"write [{name!r}]"
    advice = _advice(value, name)
    if advice:
        return advice
    others = OTHER_METHODS if "ModelProvider" in _classes(value) else OTHER_ATTRIBUTES
    for own, words in others.items():
        if name in words.split() and _has(value, own):
            return f"did you mean {own!r}?"
    part = _part_with(value, name)
    if part:
        return f"write .{part}.{name}"
    text = next((own for own in ("text", "content") if _has(value, own)), "")
    if text and hasattr(str, name):
        return f"write .{text}.{name}"
    return words_for_content(value) if "Parsed" in _classes(value) else ""


def words_for_item(value: object, key: object) -> str:
    """Return what to write for ``value[key]``."""
    if isinstance(key, str) and key.isidentifier() and key[0] != "_":
        exists = f"write .{key}" if _has(value, key) else ""
        words = _advice(value, key) or exists or words_for_attribute(value, key)
        if words:
            return words
    if hasattr(type(_fields(value).get("value")), "__getitem__"):
        return f"write .value[{repr(key)[:40]}]"
    return words_for_content(value)


def words_for_content(value: object) -> str:
    """Return what to write for the content of a value."""
    return next((advice for own, advice in CONTENT_ADVICE if _has(value, own)), "")


def _advice(value: object, name: str) -> str:
    classes = _classes(value)
    rows = (row for row in ATTRIBUTE_ADVICE if name in row[0].split())
    return next((advice for _, kinds, advice in rows if classes & {*kinds.split()}), "")


def _classes(value: object) -> Set[str]:
    return {cls.__name__ for cls in type(value).__mro__}


def _part_with(value: object, name: str) -> str:
    """Return the first name in `PARTS` whose value has this attribute, or an empty string."""
    parts = ((own, _fields(value).get(own)) for own in PARTS)
    return next((own for own, part in parts if part is not None and _has(part, name)), "")


def _has(value: object, name: str) -> bool:
    # Properties are not called, because the value may not be complete yet.
    return hasattr(type(value), name) or name in _fields(value)


def _fields(value: object) -> Mapping[str, object]:
    found: Mapping[str, object] = getattr(value, "__dict__", {})
    return found
