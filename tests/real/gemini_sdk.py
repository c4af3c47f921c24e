"""What an app sees through the `google-genai` SDK, which knows only GOOGLE_GEMINI_BASE_URL and GEMINI_API_KEY."""

import asyncio

from google import genai
from google.genai import errors, types

from shown import refused, show

ASKED = {"model": "tiny", "contents": "What does the licence say?"}
TOOLS = types.GenerateContentConfig(
    tools=[types.Tool(function_declarations=[types.FunctionDeclaration(name="get_weather")])],
    automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
)


def sync_calls():
    client = genai.Client()
    models = client.models
    show("models", *models.list())
    show("generate", models.generate_content(**ASKED))
    show("generate streamed", *models.generate_content_stream(**ASKED))
    show("tools", models.generate_content(**ASKED, config=TOOLS))
    show("embed", models.embed_content(**ASKED))
    show("count tokens", models.count_tokens(**ASKED))
    try:
        models.generate_content(**ASKED | {"model": "missing"})
    except errors.APIError as error:
        refused("missing", error.code, error.details)


async def async_calls():
    client = genai.Client()
    models = client.aio.models
    show("async generate", await models.generate_content(**ASKED))
    show("async generate streamed", *[chunk async for chunk in await models.generate_content_stream(**ASKED)])


sync_calls()
asyncio.run(async_calls())
