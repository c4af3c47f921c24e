"""What an app sees through the `openai` SDK, which knows only OPENAI_BASE_URL and OPENAI_API_KEY.

Prints one JSON object a line: the name of the call, and the events it gave. What differs from one run to
the next (ids, times, the server's timings) is left out, so that two runs can be compared.
"""

import asyncio
import json

import openai

MODEL = "tiny"
MESSAGES = [{"role": "user", "content": "What does the licence say?"}]
# Without llama.cpp's prompt cache, which would make the second run differ from the first.
UNCACHED = {"extra_body": {"cache_prompt": False}}
SETTINGS = {"model": MODEL, "messages": MESSAGES, "seed": 7, "temperature": 0, "max_tokens": 24, **UNCACHED}
TOOLS = [{
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"unit": {"type": "string", "enum": ["c", "f"]}},
            "required": ["unit"],
        },
    },
}]
TOOL_SETTINGS = {**SETTINGS, "max_tokens": 200, "tools": TOOLS, "logit_bias": {"3": 60}}
VARYING = {"id", "created", "timings", "system_fingerprint", "__verbose", "created_at", "completed_at", "item_id", "call_id"}
RESPONSE = {"model": MODEL, "input": "What does the licence say?", "temperature": 0, "max_output_tokens": 24, **UNCACHED}


def steady(value):
    if isinstance(value, dict):
        return {key: steady(it) for key, it in value.items() if key not in VARYING}
    return [steady(it) for it in value] if isinstance(value, list) else value


def show(name, *events):
    seen = [steady(event.model_dump(mode="json")) for event in events]
    print(json.dumps({"call": name, "events": seen}, sort_keys=True), flush=True)


def sync_calls():
    client = openai.OpenAI(max_retries=0)
    show("models", *client.models.list())
    show("chat", client.chat.completions.create(**SETTINGS))
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    show("chat streamed", *client.chat.completions.create(**SETTINGS, **asked))
    show("chat streamed, usage not asked", *client.chat.completions.create(**SETTINGS, stream=True))
    show("tools", client.chat.completions.create(**TOOL_SETTINGS))
    show("tools streamed", *client.chat.completions.create(**TOOL_SETTINGS, **asked))
    # The choices' chunks come in any order.
    both = client.chat.completions.create(**SETTINGS, **asked, n=2)
    show("two choices streamed", *sorted(both, key=lambda event: event.model_dump_json(exclude=VARYING)))
    prompt = {"model": MODEL, "prompt": "The", "max_tokens": 8, "seed": 7, "temperature": 0, **UNCACHED}
    show("completion", client.completions.create(**prompt))
    show("completion streamed", *client.completions.create(**prompt, **asked))
    show("response", client.responses.create(**RESPONSE))
    show("response streamed", *client.responses.create(**RESPONSE, stream=True))
    try:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "word " * 20000}])
    except openai.BadRequestError as error:
        print(json.dumps({"call": "too long", "status": error.status_code, "body": error.body}), flush=True)


async def async_calls():
    async with openai.AsyncOpenAI(max_retries=0) as client:
        show("async chat", await client.chat.completions.create(**SETTINGS))
        stream = await client.chat.completions.create(
            **SETTINGS, stream=True, stream_options={"include_usage": True}
        )
        show("async chat streamed", *[event async for event in stream])


sync_calls()
asyncio.run(async_calls())
