"""What an app sees through the `anthropic` SDK, which knows only ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY."""

import asyncio

import anthropic

from shown import refused, show

MESSAGES = [{"role": "user", "content": "What does the licence say?"}]
SETTINGS = {"model": "tiny", "max_tokens": 24, "messages": MESSAGES, "extra_body": {"temperature": 0}}


def sync_calls():
    client = anthropic.Anthropic(max_retries=0)
    show("models", *client.models.list())
    show("message", client.messages.create(**SETTINGS, system="Be brief."))
    show("message streamed", *client.messages.create(**SETTINGS, stream=True))
    with client.messages.stream(**SETTINGS) as stream:
        show("message streamed, gathered", stream.get_final_message())
    try:
        client.messages.create(**SETTINGS | {"messages": [{"role": "user", "content": "word " * 20000}]})
    except anthropic.APIStatusError as error:
        refused("too long", error.status_code, error.body)


async def async_calls():
    async with anthropic.AsyncAnthropic(max_retries=0) as client:
        show("async message", await client.messages.create(**SETTINGS))
        stream = await client.messages.create(**SETTINGS, stream=True)
        show("async message streamed", *[event async for event in stream])


sync_calls()
asyncio.run(async_calls())
