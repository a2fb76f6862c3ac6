"""Good records of each server with every field that the parsers read, for the mutations."""

from __future__ import annotations

from typing import Any, Dict, List

Record = Dict[str, Any]

# --- Ollama ---------------------------------------------------------------------------------

_TOKEN = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105]}
_CALL = {"id": "c1", "function": {"index": 0, "name": "f", "arguments": {"x": [1]}}}
_COUNTS = {
    "total_duration": 9, "load_duration": 1, "prompt_eval_count": 5, "prompt_eval_duration": 2,
    "eval_count": 7, "eval_duration": 3,
}  # fmt: skip

OLLAMA_CHUNKS: List[Record] = [
    {"model": "m", "message": {"role": "assistant", "content": "Hi"}, "done": False},
    {"model": "m", "message": {"content": "", "thinking": "hm"}, "done": False},
    {"model": "m", "message": {"content": "", "tool_calls": [_CALL]}, "done": False},
    {"model": "m", "response": "Hi", "done": False},
    {
        "model": "m",
        "message": {"content": "Hi"},
        "logprobs": [{**_TOKEN, "top_logprobs": [_TOKEN]}],
        "done": False,
    },
    {"model": "m", "message": {"content": ""}, "done": True, "done_reason": "stop", **_COUNTS},
    {"error": "model runner has unexpectedly stopped"},
]
OLLAMA_VECTORS: List[Record] = [
    {"model": "m", "embeddings": [[0.5, 1], [2, -3.5]], "prompt_eval_count": 5, **_COUNTS}
]
OLLAMA_MODELS: List[Record] = [
    {
        "models": [
            {
                "name": "m:latest",
                "model": "m:latest",
                "modified_at": "2026-01-02T03:04:05.678901234+02:00",
                "size": 5,
                "digest": "d",
                "details": {"family": "llama", "parameter_size": "8B", "context_length": 9},
                "capabilities": ["completion", "tools"],
                "remote_host": "https://ollama.com:443",
            }
        ]
    }
]
OLLAMA_SHOW: List[Record] = [
    {
        "capabilities": ["completion", "vision", "embedding"],
        "model_info": {"general.architecture": "llama", "llama.context_length": 9},
    }
]

# --- the OpenAI dialect ---------------------------------------------------------------------

_PIECES = [
    {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}},
    {"index": 1, "id": "c2", "function": {"name": "g", "arguments": {"y": None}}},
]
PIECES: List[Any] = [
    _PIECES,
    [{"index": 0, "function": {"arguments": '{"x": 1}'}}],
    [{"index": 0, "id": "c3", "function": {"name": "h", "arguments": "{}"}}],
]
_MESSAGE = {"role": "assistant", "content": "Hi", "reasoning_content": "hm", "tool_calls": _PIECES}

DIALECT_CHUNKS: List[Record] = [
    {"model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi"}}]},
    {"model": "m", "choices": [{"delta": {"reasoning": "hm"}, "finish_reason": None}]},
    {"model": "m", "choices": [{"delta": {"tool_calls": PIECES[0]}}]},
    {"model": "m", "choices": [{"delta": {"tool_calls": PIECES[1]}}]},
    {"model": "m", "choices": [{"text": "Hi", "index": 0}]},
    {
        "choices": [
            {"delta": {}, "logprobs": {"content": [{**_TOKEN, "top_logprobs": [_TOKEN]}]}},
        ]
    },
    {"model": "m", "choices": [{"delta": {}, "finish_reason": "tool_calls"}]},
    {"model": "m", "choices": [{"message": _MESSAGE, "finish_reason": "length"}]},
    {
        "choices": [],
        "usage": {
            "prompt_tokens": 5,
            "completion_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 1},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
        "timings": {"prompt_ms": 1.5, "predicted_ms": 3},
    },
    {"error": {"message": "too large to process", "type": "t", "code": 400, "n_ctx": 9}},
]
DIALECT_VECTORS: List[Record] = [
    {
        "model": "m",
        "data": [
            {"index": 1, "embedding": [0.5, 1]},
            {"index": 0, "embedding": "AACAPwAAAEA="},
        ],
        "usage": {"prompt_tokens": 5},
    }
]
DIALECT_MODELS: List[Record] = [
    {"data": [{"id": "m", "meta": {"n_ctx_train": 9, "n_ctx": 8, "n_embd": 7, "size": 5}}]},
    {"data": [{"id": "bge-m", "max_model_len": 9}]},
]

# --- LM Studio ------------------------------------------------------------------------------

STUDIO_MODELS: List[Record] = [
    {
        "models": [
            {
                "type": "llm",
                "key": "m",
                "architecture": "llama",
                "quantization": {"name": "Q4", "bits_per_weight": 4},
                "size_bytes": 5,
                "params_string": "8B",
                "loaded_instances": [
                    {"id": "m:2", "config": {"context_length": 8}, "remaining_ttl_seconds": 3600}
                ],
                "max_context_length": 9,
                "format": "gguf",
                "capabilities": {"vision": True, "trained_for_tool_use": False, "reasoning": {}},
                "variants": ["m@q4"],
            }
        ]
    }
]
STUDIO_EVENTS: List[Record] = [
    {"type": "chat.start", "model_instance_id": "m"},
    {"type": "model_load.progress", "model_instance_id": "m", "progress": 0.5},
    {"type": "model_load.end", "model_instance_id": "m", "load_time_seconds": 2.5},
    {"type": "prompt_processing.progress", "progress": 1},
    {"type": "reasoning.delta", "content": "hm"},
    {"type": "message.delta", "content": "hello"},
    {"type": "tool_call.start", "tool": "f"},
    {"type": "error", "error": {"type": "unknown", "message": "it broke"}},
    {
        "type": "chat.end",
        "result": {
            "model_instance_id": "m",
            "output": [{"type": "message", "content": "hello"}],
            "stats": {
                "input_tokens": 3,
                "total_output_tokens": 2,
                "reasoning_output_tokens": 0,
                "model_load_time_seconds": 2.5,
            },
            "response_id": "resp_1",
        },
    },
]
STUDIO_LOADED: List[Record] = [
    {
        "type": "llm",
        "instance_id": "m:2",
        "load_time_seconds": 2.5,
        "status": "loaded",
        "load_config": {"context_length": 8},
    }
]
STUDIO_JOBS: List[Record] = [
    {
        "job_id": "job_1",
        "status": "downloading",
        "total_size_bytes": 9,
        "downloaded_bytes": 5,
        "bytes_per_second": 2.5,
        "started_at": "2025-10-03T15:33:23.496Z",
        "estimated_completion": "2025-10-03T15:43:23Z",
    },
    {"status": "already_downloaded"},
    {"job_id": "job_1", "status": "failed", "error": {"message": "no space"}},
]
STUDIO_OLD_MODELS: List[Record] = [
    {
        "data": [
            {
                "id": "m",
                "type": "vlm",
                "arch": "llama",
                "compatibility_type": "gguf",
                "quantization": "Q4",
                "state": "loaded",
                "max_context_length": 9,
                "loaded_context_length": 8,
                "capabilities": ["tool_use"],
            }
        ]
    }
]

# --- refusals of all servers -----------------------------------------------------------------

REFUSALS: List[Any] = [
    {"error": "model 'm' not found"},
    {"error": {"message": "m", "type": "exceed_context_size_error", "n_prompt_tokens": 9}},
    {"error": '{"error": {"message": "request (9 tokens) exceeds the available context"}}'},
    [{"error": {"message": "does not support tools", "code": "c"}}],
    {"error": {"type": "unavailable_error"}, "message": "loading model"},
    {"error": None, "message": "m"},
]
