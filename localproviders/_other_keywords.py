"""Keyword arguments of other clients, and what to write in this package instead.

Only an error needs these tables: `_did_you_mean` imports them when an error is made.
"""

from __future__ import annotations

from typing import Mapping, Tuple

#: An example of Python code that passes an image, for the texts of errors.
IMAGE_MESSAGE = 'Message.user("What is this?", images=[Path("cat.png")])'

#: For each keyword of this package, the names of the same argument in other clients and servers.
OTHER_NAMES: Mapping[str, str] = {
    "host": "base_url url api_base endpoint address server api_url server_url ollama_host api_host",
    "base_url": "host url api_base endpoint address server api_url server_url server_api_host",
    "api_key": "key token api_token openai_api_key",
    "timeout": "total total_s timeout_s request_timeout read_timeout",
    "ca_bundle": "cafile ca_certs",
    "client_cert": "cert",
    "proxies": "proxy",
    "headers": "default_headers extra_headers http_headers custom_headers",
    "auth": "basic_auth http_auth credentials",
    "retry": "retry_policy",
    "attempts": "max_retries retries num_retries max_attempts total",
    "first_wait_s": "backoff backoff_factor",
    "longest_wait_s": "backoff_max",
    "total_s": "total timeout",
    "connect_s": "connect",
    "idle_s": "read",
    "model": "name model_name model_id llm engine deployment repo_id model_key model_path"
    " default_model",
    "messages": "prompt input inputs message contents content query question user_message"
    " conversation user_prompt user_msg text",
    "text": "prompt messages message input content string",
    "content": "parts text message",
    "system": "system_prompt system_message system_instruction instructions preamble",
    "questions": "question instructions",
    "state": "input text prompt content",
    "states": "inputs texts prompts",
    "min_mass": "threshold",
    "texts": "input inputs text prompt documents document sentences content contents query strings"
    " messages",
    "documents": "texts passages docs sentences items",
    "top_n": "top_k k limit",
    "dimensions": "dims output_dimensionality",
    "batch_size": "chunk_size embed_batch_size",
    "on_progress": "callback progress progress_callback on_download_progress",
    "listeners": "callback callbacks",
    "context_length": "num_ctx n_ctx context_window context_size max_context_length",
    "keep_alive": "ttl ttl_s",
    "max_tokens": "num_predict n_predict max_new_tokens max_completion_tokens max_output_tokens"
    " max_length maxTokens max_tokens_to_sample maxOutputTokens num_output",
    "repeat_penalty": "repetition_penalty repeatPenalty",
    "seed": "random_seed random_state",
    "stop": "stop_sequences stop_strings stop_words stopStrings",
    "thinking": "think reasoning reasoning_effort enable_thinking thinking_config thinking_budget"
    " reasoning_budget",
    "tools": "functions function_declarations tool",
    "tool_choice": "function_call tool_config",
    "on_step": "on_tool_call on_message",
    "on_tool_error": "handle_tool_error handle_parsing_errors",
    "cancel": "cancel_token cancellation_token abort stop_event",
    "max_rounds": "max_iterations max_tool_rounds max_loops max_prediction_rounds iterations"
    " max_tool_iterations max_turns max_steps max_tool_calls recursion_limit",
}


_RETRY = "pass retry=RetryPolicy(attempts=3), which counts the first attempt, too"
_WINDOWS = (
    "Ollama sets it for a call, LM Studio has load(model, context_length=8192), and other servers "
    "set it when they start"
)
_VERIFY = (
    'leave it out, or pass ca_bundle="ca.pem" with your own certificates: TLS is always verified'
)

#: Advice about keywords that this package does not have. Each row has three fields: the keywords,
#: separated by blanks; the name of a parameter; and the advice. The advice applies to functions
#: that have this parameter.
ADVICE: Tuple[Tuple[str, str, str], ...] = (
    (
        "stream",
        "messages",
        "leave it out: chat() returns the whole answer, stream() the chunks, each with a .text",
    ),
    (
        "num_ctx n_ctx context_window context_size max_context_length",
        "temperature",
        f"did you mean 'context_length'? {_WINDOWS}",
    ),
    (
        "stream",
        "request",
        "leave it out: complete() returns the whole answer, stream_completion() the chunks",
    ),
    (
        "stream",
        "on_progress",
        "leave it out, and pass on_progress=function to get the progress reports",
    ),
    (
        "options config generation_config generation_kwargs model_kwargs additional_kwargs"
        " sampling_params parameters default_options"
        " model_settings",
        "temperature",
        "pass each option as a keyword, such as temperature=0, context_length=8192 (num_ctx) or "
        "max_tokens=100 (num_predict)",
    ),
    (
        "images image",
        "messages",
        f"pass {IMAGE_MESSAGE} as the message; images may "
        "be bytes, too, such as base64.b64decode(text), open files, and images of PIL",
    ),
    (
        "format response_format response_schema json_schema schema response_model output_type",
        "response_type",
        "pass the type or the JSON Schema after the messages, as in parse(text, City).value",
    ),
    (
        "format response_format json_schema schema response_model",
        "response_schema",
        'pass response_schema={"type": "object"} for any JSON object, or another JSON Schema as a '
        "dictionary; or write parse(text, City).value with a type",
    ),
    (
        "parallel_tool_calls",
        "parallel",
        "leave it out: parallel=1 runs the calls of an answer one after another, parallel=4 "
        "four at once",
    ),
    (
        "parallel_tool_calls",
        "extra_body",
        "pass extra_body={'parallel_tool_calls': False} if the server has this field",
    ),
    (
        "n best_of num_return_sequences candidate_count num_completions",
        "temperature",
        "leave it out: a call returns one answer; call it again for another one",
    ),
    ("return_documents", "top_n", "leave it out: each result has its .document"),
    ("do_sample", "temperature", "leave it out; temperature=0 replaces do_sample=False"),
    (
        "history chat_history message_history memory previous_messages context session_id"
        " conversation_id",
        "messages",
        "pass the earlier messages and the new one as one list",
    ),
    (
        "num_beams return_full_text pad_token_id eos_token_id use_cache device device_map "
        "torch_dtype trust_remote_code no_repeat_ngram_size length_penalty early_stopping "
        "skip_special_tokens tokenizer echo raw template safety_settings store",
        "temperature",
        "leave it out: the server has its own rules",
    ),
    ("streaming stream_options", "messages", "leave it out, and call stream() to get chunks"),
    (
        "streaming_callback stream_callback on_token on_chunk on_prediction_fragment",
        "messages",
        "leave it out, and call stream(): each chunk has a .text",
    ),
    (
        "callback callbacks verbose hooks",
        "on_step",
        "pass on_step=function, which is called with a ToolStep after each tool call",
    ),
    (
        "callback callbacks callback_manager verbose hooks",
        "messages",
        "leave it out; the provider takes listeners=[function]",
    ),
    (
        "guided_json guided_choice guided_regex regex structured_outputs",
        "response_schema",
        "pass response_schema with a JSON Schema, or call parse() with a type",
    ),
    ("suffix prefix", "messages", "call complete(CompletionRequest(prompt=..., suffix=...))"),
    (
        "user logit_bias metadata service_tier mirostat mirostat_eta mirostat_tau typical_p "
        "repeat_last_n num_gpu num_thread num_batch",
        "extra_body",
        "pass it in extra_body, under the server's name, if the server has this field",
    ),
    ("verify", "ca_bundle", _VERIFY),
    ("max_retries retries num_retries max_attempts", "retry", _RETRY),
    (
        "host base_url url",
        "strategy",
        "pass it to a provider in the list, as in [OllamaProvider(host)]",
    ),
    (
        "headers auth",
        "strategy",
        "pass it to a provider in the list, as in [OllamaProvider(headers=headers)]",
    ),
    (
        "generation_kwargs generation_config model_kwargs additional_kwargs default_options "
        "sampling_params",
        "listeners",
        "pass each option to each call, as in chat(text, temperature=0)",
    ),
    ("system system_prompt system_message instructions", "listeners", "pass system to each call"),
    (
        "n_gpu_layers n_threads n_batch chat_format verbose device device_map torch_dtype "
        "trust_remote_code organization project http_client http_async_client client session "
        "is_chat_model is_function_calling_model tokenizer",
        "listeners",
        "leave it out: the server has its own options",
    ),
    ("streaming", "listeners", "call stream() to get chunks, and chat() to get a whole answer"),
    (
        "num_ctx n_ctx context_window",
        "base_url",
        "set the context window when you start the server",
    ),
    (
        "num_ctx n_ctx context_window",
        "listeners",
        f"pass context_length=8192 to each call; {_WINDOWS}",
    ),
    ("port", "host", 'write the port in the address, as in host="http://127.0.0.1:11434"'),
    (
        "port",
        "base_url",
        'write the port in the address, as in base_url="http://127.0.0.1:8080/v1"',
    ),
    (
        "port",
        "strategy",
        'pass it to a provider in the list, as in [OllamaProvider("http://127.0.0.1:11434")]',
    ),
    ("num_predict", "listeners", "pass max_tokens=100 to each call"),
    ("think", "listeners", "pass thinking=True to each call"),
    ("stream", "listeners", "call stream() to get chunks, and chat() to get a whole answer"),
    (
        "images image",
        "listeners",
        f"pass {IMAGE_MESSAGE} to each call",
    ),
    (
        "format response_format response_schema",
        "listeners",
        'pass response_schema={"type": "object"} or another JSON Schema to each call, '
        "or call parse()",
    ),
    (
        "temperature max_tokens context_length keep_alive thinking seed tools options",
        "listeners",
        "pass it to each call, as in chat(text, temperature=0)",
    ),
    (
        "temperature max_tokens model messages prompt system tools response_schema options num_ctx "
        "num_predict format response_format images think thinking keep_alive context_length",
        "request",
        "set it in the CompletionRequest, or call chat()",
    ),
    ("options", "context_length", "pass each option as a keyword, such as context_length=4096"),
    ("num_ctx", "texts", "leave it out, and call load(model, context_length=8192) before"),
    ("options", "texts", "leave it out: embed() has dimensions, truncate and keep_alive"),
    (
        "normalize normalize_embeddings encoding_format convert_to_numpy convert_to_tensor "
        "show_progress_bar task_type input_type prompt_name user embedding_types",
        "texts",
        "leave it out; to_numpy() of the result returns a matrix",
    ),
    ("format stream images image temperature max_tokens seed tools", "texts", "leave it out"),
    *(
        row
        for parameter in ("messages", "request", "texts", "cancel")
        for row in (
            (
                "base_url host url api_base",
                parameter,
                "pass it to the provider: OllamaProvider(host)",
            ),
            (
                "max_retries retries num_retries retry",
                parameter,
                "pass it to the provider: OllamaProvider(retry=RetryPolicy(attempts=3))",
            ),
            (
                "verify ca_bundle proxies proxy api_key listeners headers extra_headers",
                parameter,
                "pass it to the provider, such as OllamaProvider(headers=headers)",
            ),
        )
    ),
    (
        "max_retries retries num_retries retry verify ca_bundle proxies proxy api_key",
        "providers",
        "pass it to a provider in the list, as in [OllamaProvider(headers=headers)]",
    ),
    ("base_url host url", "start_timeout_s", "leave it out: LocalEngine starts its own server"),
)

#: Keywords of `chat`, in this package or other clients, that have no influence on the prompt.
#: Functions without an answer, such as `count_tokens` and `render`, do not have these keywords.
FOR_AN_ANSWER = [
    "num_ctx",
    "n_ctx",
    "context_length",
    "num_predict",
    "max_tokens",
    "max_completion_tokens",
    "options",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "stop",
    "format",
    "response_format",
    "response_schema",
    "keep_alive",
    "tool_choice",
    "repeat_penalty",
    "logprobs",
    "overflow",
    "strict",
]
