"""What an app sees through `langchain-openai`, which knows only OPENAI_BASE_URL and OPENAI_API_KEY."""

from langchain_openai import ChatOpenAI

from shown import show

ASKED = "What does the licence say?"


def message(it):
    """What it holds, without LangChain's own counters of runs."""
    return {key: value for key, value in it.model_dump(mode="json").items() if key != "id"} | {"id": None}


def chat(**settings):
    return ChatOpenAI(model="tiny", max_retries=0, temperature=0, max_tokens=24, seed=7, **settings)


show("chat", message(chat().invoke(ASKED)))
show("chat streamed", *map(message, chat(stream_usage=True).stream(ASKED)))
responses = ChatOpenAI(model="tiny", max_retries=0, temperature=0, max_tokens=24, use_responses_api=True)
show("response", message(responses.invoke(ASKED)))
show("response streamed", *map(message, responses.stream(ASKED)))
