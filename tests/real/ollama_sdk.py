"""What an app sees through the `ollama` SDK, which knows only OLLAMA_HOST.

Prints one JSON object a line: the name of the call, and what it gave.
"""

import asyncio
import json

import ollama

MODEL = "tiny"
MESSAGES = [{"role": "user", "content": "hello"}]
TOOLS = [{
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}]


def show(name, *events):
    seen = [event.model_dump(mode="json") for event in events]
    print(json.dumps({"call": name, "events": seen}, sort_keys=True), flush=True)


def sync_calls():
    show("list", ollama.list())
    show("chat", ollama.chat(model=MODEL, messages=MESSAGES))
    show("chat streamed", *ollama.chat(model=MODEL, messages=MESSAGES, stream=True))
    show("tools", ollama.chat(model=MODEL, messages=MESSAGES, tools=TOOLS))
    show("generate", ollama.generate(model=MODEL, prompt="hello"))
    show("generate streamed", *ollama.generate(model=MODEL, prompt="hello", stream=True))
    show("embed", ollama.embed(model=MODEL, input=["a", "b"]))
    try:
        ollama.chat(model="missing", messages=MESSAGES)
    except ollama.ResponseError as error:
        print(json.dumps({"call": "missing", "status": error.status_code, "error": error.error}), flush=True)


async def async_calls():
    client = ollama.AsyncClient()
    show("async chat", await client.chat(model=MODEL, messages=MESSAGES))
    stream = await client.chat(model=MODEL, messages=MESSAGES, stream=True)
    show("async chat streamed", *[event async for event in stream])


sync_calls()
asyncio.run(async_calls())
