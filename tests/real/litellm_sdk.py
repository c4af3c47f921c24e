"""What an app sees through `litellm`, which knows only base URLs: OpenAI's, Anthropic's and Ollama's format."""

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm

from shown import show

SETTINGS = {"messages": [{"role": "user", "content": "What does the licence say?"}], "max_tokens": 24, "temperature": 0, "num_retries": 0}
BASE = os.environ["CLIENT_BASE_URL"]
WAYS = {"openai": f"{BASE}/v1", "anthropic": BASE}

litellm.telemetry = False
litellm.suppress_debug_info = True
for provider, base in WAYS.items():
    asked = {**SETTINGS, "model": f"{provider}/tiny", "api_base": base, "api_key": "sk-test-not-a-key"}
    show(f"{provider} chat", litellm.completion(**asked))
    asked |= {"stream": True, "stream_options": {"include_usage": True}}
    show(f"{provider} chat streamed", *litellm.completion(**asked))
