#!/usr/bin/env python3
"""Reads recorded exchanges and says what is true of each: a second reader, written from the providers'
own type definitions and not from this repository's program. Knows nothing of it but the names of the facts.

usage: read.py RECORDINGS.jsonl > expected.jsonl      the expectations, and the rules that they follow
       read.py RECORDINGS.jsonl --show COUNT [SEED]   some of them at random, beside the deciding bytes

Each line of the output is a rule (`rule`, `says`, `page`) or a recording (`id`, `crc32` of its bytes,
`facts`: each a value, the rule, and where the deciding bytes stand). `data[7]` is the eighth event or line.
"""

import base64
import gzip
import json
import random
import re
import sys
import zlib
from decimal import ROUND_HALF_UP, Decimal
from urllib.parse import unquote

# Rule: what it says, and the page or the published type definition that says so.
RULES = {
    "path.operation": ("The route names the call.", "OpenTelemetry GenAI conventions, gen_ai.operation.name; openai 3.52.0 resources/*, anthropic 2.11.0 resources/messages, google-genai 3.4.0 models.py, cohere 7.3.1 v2/client.py, ollama docs/api.md"),
    "path.none": ("The route calls no model: objects are kept, listed, counted or deleted.", "openai 3.52.0 resources/{files,vector_stores,conversations,realtime}, anthropic 2.11.0 resources/messages (count_tokens is free), google-genai 3.4.0 caches.py, files.py"),
    "path.model": ("The model stands in the path.", "google-genai 3.4.0 models.py `{model}:generateContent`; openai 3.52.0 lib/azure.py `/deployments/{model}`"),
    "request.model": ("`model` of the request.", "openai 3.52.0 types/chat/completion_create_params.py and the other providers' request types"),
    "request.stream": ("`stream: true` asks for a stream; Ollama's own routes stream unless `stream: false`; Google's name it in the path.", "openai 3.52.0 types/chat/completion_create_params.py; ollama docs/api.md; google-genai 3.4.0 models.py"),
    "response.model": ("The last `model` that is not empty: Azure's first event has an empty one.", "openai 3.52.0 types/chat/chat_completion_chunk.py; the recorded events"),
    "response.id": ("The first id that is not empty.", "openai 3.52.0 types/chat/chat_completion_chunk.py: each chunk has the same ID"),
    "gemini.model": ("`modelVersion`, `responseId`.", "google-genai 3.4.0 types.py GenerateContentResponse"),
    "cohere.id": ("`id`; version 1 calls it `generation_id`.", "cohere 7.3.1 types/non_streamed_chat_response.py, v2/types/v2chat_response.py"),
    "openai.finish": ("The last `finish_reason` of each `choices[].index`; an empty text is none.", "openai 3.52.0 types/chat/chat_completion_chunk.py"),
    "responses.finish": ("`status` once it is terminal, of an incomplete one `incomplete_details.reason` beside it.", "openai 3.52.0 types/responses/response.py"),
    "anthropic.finish": ("`stop_reason`, in a stream of `message_delta`.", "anthropic 2.11.0 types/message.py, raw_message_delta_event.py"),
    "gemini.finish": ("`finishReason` of each candidate.", "google-genai 3.4.0 types.py Candidate"),
    "cohere.finish": ("`finish_reason`, in a stream of `message-end`.", "cohere 7.3.1 v2/types/v2chat_response.py, chat_message_end_event_delta.py"),
    "ollama.finish": ("`done_reason` of the last line.", "ollama docs/api.md"),
    "streamed": ("The body is a sequence of events or lines.", "WHATWG HTML 9.2 server-sent events; ollama docs/api.md"),
    "openai.usage": ("The last `usage` that is not null: cached, written, audio and pictures are within `prompt_tokens`, reasoning and audio within `completion_tokens`.", "openai 3.52.0 types/completion_usage.py"),
    "openai.embedding.usage": ("`prompt_tokens`; an embedding puts out no tokens, so that a zero beside it counts nothing.", "openai 3.52.0 types/create_embedding_response.py Usage"),
    "voyage.usage": ("`usage.total_tokens` is all input.", "voyageai 0.5.0 object/embeddings.py"),
    "xai.chat.usage": ("Chat: `completion_tokens` leaves `reasoning_tokens` out: `total_tokens` is the sum of the three.", "genai-prices 0.2.3 extractor x-ai (chat); litellm 1.109.1 llms/xai/cost_calculator.py"),
    "deepseek.usage": ("`prompt_cache_hit_tokens` is what was read from the cache.", "litellm 1.109.1 types/utils.py Usage"),
    "flat.cached": ("`cached_tokens` (Together) or `num_cached_tokens` (Mistral) stands beside the counts.", "together 3.1.1 types/chat/chat_completion_usage.py; mistralai 3.7.0 client/models/usageinfo.py (extra fields allowed)"),
    "responses.usage": ("`usage` of the terminal response: cached and written within `input_tokens`, reasoning within `output_tokens`.", "openai 3.52.0 types/responses/response_usage.py"),
    "responses.tools": ("`tool_usage.web_search.num_requests`, else the `web_search_call` items whose action is a search; each `file_search_call`; each container of a `code_interpreter_call`.", "openai 3.52.0 types/responses/response.py ToolUsage, response_function_web_search.py"),
    "run.usage": ("`usage` of the run once it is terminal.", "openai 3.52.0 types/beta/threads/run.py Usage"),
    "batch.usage": ("`usage` of the batch once it is terminal.", "openai 3.52.0 types/batch_usage.py, batch.py"),
    "mistral.batch": ("Each of `outputs` whose `response.body` tells a `usage` is counted once the batch is terminal, and all are summed.", "mistralai 3.7.0 client/models/batchjob.py, batchjobstatus.py; mistralai/client-python examples/mistral/jobs/async_batch_job_chat_completion_inline.py"),
    "anthropic.results": ("Each line's `result.message` tells its usage, and all are summed; the batch's name stands in the path.", "anthropic 2.11.0 types/messages/message_batch_individual_response.py, resources/messages/batches.py `results`"),
    "xai.video": ("A job begins with a POST and is fetched with a GET; `request_id` names it.", "ruby_llm's recorded exchanges; docs.x.ai, Video Generations"),
    "anthropic.usage": ("`input_tokens` leaves out what was read from and written to the cache: all three are input. A stream's `message_delta` is cumulative and wins, field by field.", "anthropic 2.11.0 types/usage.py, message_delta_usage.py"),
    "gemini.usage": ("Input is `promptTokenCount` (cached within) and `toolUsePromptTokenCount`; output is `candidatesTokenCount` and `thoughtsTokenCount`; the last event wins.", "google-genai 3.4.0 types.py GenerateContentResponseUsageMetadata.total_token_count"),
    "gemini.modality": ("The lists of modalities tell audio, pictures (a document's pages with them) and moving pictures apart; where what is listed is all there is, what is not named is none.", "google-genai 3.4.0 types.py ModalityTokenCount, GenerateContentResponseUsageMetadata.prompt_tokens_details; genai-prices 0.2.3 extractor google: DOCUMENT is image tokens"),
    "gemini.predict": ("`statistics.token_count` of each prediction; `metadata.billableCharacterCount`.", "google-genai 3.4.0 types.py ContentEmbeddingStatistics, EmbedContentMetadata"),
    "interactions.usage": ("`total_input_tokens` and `total_tool_use_tokens` are input, `total_output_tokens` and `total_thought_tokens` output.", "google-genai 3.4.0 _gaos/types/interactions/usage.py"),
    "cohere.usage": ("`billed_units`, which prices count; `tokens`, `cached_tokens` and reasoning are of another count that is not billed, and no part of these.", "cohere 7.3.1 types/usage_billed_units.py, usage_tokens.py; genai-prices 0.2.3 extractor cohere"),
    "ollama.usage": ("`prompt_eval_count` and `eval_count`; what is left out is not known.", "ollama docs/api.md"),
    "usage.none": ("No usage on the wire.", "the bytes: no such object, or null"),
    "error.word": ("The provider's text code, else its type, else its status' name, else the number; lower case.", "openai 3.52.0 types/shared/error_object.py; anthropic 2.11.0 types/shared/error_response.py; google-genai 3.4.0 errors.py"),
    "error.status": ("Below 500 who asked, from 500 on the provider.", "RFC 9110 15.5, 15.6"),
    "ending.status": ("4xx and 5xx.", "RFC 9110 15.5, 15.6"),
    "ending.whole": ("The whole document, or no stream.", "RFC 9112 6.3"),
    "ending.terminator": ("The stream's last event of its format came: `[DONE]`, or a reason to stop for each choice; `response.completed` and its like; `message_stop`; `message-end`; `finishReason`; `interaction.completed`.", "openai 3.52.0 _streaming.py, types/responses/response_stream_event.py; anthropic 2.11.0 types/raw_message_stop_event.py"),
    "openrouter.cost": ("`usage.cost`, in USD.", "litellm 1.109.1 llms/openrouter; the sums agree with the price list (tests/it/costs.rs)"),
    "perplexity.cost": ("`usage.cost.total_cost`, in USD.", "litellm 1.109.1 llms/perplexity/cost_calculator.py"),
    "xai.cost": ("`usage.cost_in_usd_ticks`, 10^-10 USD each.", "litellm 1.109.1 llms/xai/common_utils.py; the sums agree with the price list (tests/it/costs.rs)"),
    "gateway.cost": ("`usage.pydantic_ai_gateway.cost_estimate`, in USD.", "no page: the field's name, and the sum agrees with the price list (tests/it/costs.rs)"),
    "cost.none": ("No cost on the wire.", "the bytes"),
}

RUNNING = {"validating", "queued", "in_progress", "finalizing", "cancelling", "requires_action"}
MISTRAL_RUNNING = {"QUEUED", "RUNNING", "CANCELLATION_REQUESTED"}
CHAT = "chat"


def body(recording, key):
    text = recording[key] or ""
    raw = base64.b64decode(text) if recording[key + "_b64"] else text.encode()
    return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw


def parse(text):
    try:
        return json.loads(text, parse_float=Decimal)
    except ValueError:
        return None


def at(value, pointer):
    for key in pointer.strip("/").split("/"):
        if isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, dict):
            value = value.get(key)
        else:
            return None
    return value


class Answer:
    """The JSON values of an answer, each with its place."""

    def __init__(self, raw):
        text = raw.decode("utf-8", "replace")
        whole = parse(text)
        self.done = False
        self.streamed = False
        self.values = []
        if whole is not None:
            self.values = [("", whole)]
            return
        lines = re.split(r"\r\n|\n|\r", text)
        if any(re.match(r"(data|event|id|retry)?:", line) for line in lines):
            self.streamed = True
            texts, event = [], []
            for line in [*lines, ""]:
                if line.startswith("data:"):
                    event.append(line[5:].removeprefix(" "))
                elif not line and event:
                    texts.append("\n".join(event))
                    event = []
        else:
            texts = [line for line in lines if line.strip()]
            self.streamed = len(texts) > 1 and all(parse(it) is not None for it in texts)
        for text in texts:
            if text == "[DONE]":
                self.done = True
            elif (value := parse(text)) is not None:
                self.values.append((f"data[{len(self.values)}]", value))

    def all(self, *pointers):
        for place, value in self.values:
            for pointer in pointers:
                found = at(value, pointer)
                if found is not None and found != "":
                    yield found, place + pointer

    def last(self, *pointers):
        found = list(self.all(*pointers))
        return found[-1] if found else (None, "")

    def first(self, *pointers):
        return next(self.all(*pointers), (None, ""))


class Facts(dict):
    def put(self, name, value, rule, place):
        assert rule in RULES, rule
        if value is not None:
            self[name] = [int(value) if isinstance(value, Decimal) else value, rule, place]


def nano(amount, ticks=False):
    return int((Decimal(amount) * (Decimal("0.1") if ticks else 10**9)).quantize(0, ROUND_HALF_UP))


def count(value):
    """A count, where it is one."""
    return value if isinstance(value, (int, Decimal)) and not isinstance(value, bool) else None


def total(*counts):
    known = [it for it in counts if it is not None]
    return sum(known) if known else None


class Reader:
    def __init__(self, recording):
        self.recording = recording
        self.provider = recording["provider"]
        self.method = recording["method"].upper()
        self.path = recording["path"].split("?")[0]
        self.query = recording["path"].partition("?")[2]
        self.status = recording["status"]
        self.request = parse(body(recording, "request_body").decode("utf-8", "replace") or "null")
        self.answer = Answer(body(recording, "response_body"))
        self.facts = Facts()

    def read(self):
        family, operation = self.family()
        put = self.facts.put
        put("operation", operation, "path.operation" if operation else "path.none", self.path_place())
        put("ending", *self.ending(family))
        if self.status >= 400:
            self.failure()
        if not operation:
            return self.facts
        self.asked(family)
        put("streamed", self.answer.streamed, "streamed", "body")
        if self.status < 400:
            getattr(self, family)()
            if not any(name.startswith("usage.") for name in self.facts):
                put("usage", "absent", "usage.none", "body")
            self.cost()
        return self.facts

    def path_place(self):
        return f"{self.method} {self.path}"

    def family(self):
        """Whose format it is, and what is called."""
        path, post = self.path, self.method == "POST"
        if self.provider in ("gemini", "vertex"):
            verb = path.rpartition(":")[2] if ":" in path.rpartition("/")[2] else ""
            if verb in ("generateContent", "streamGenerateContent"):
                return "gemini", "generate_content"
            if verb in ("embedContent", "batchEmbedContents", "predict"):
                return "embedding_google", "embeddings"
            if path.endswith("/interactions") and post:
                return "interactions", "generate_content"
            return None, None
        if self.provider == "cohere":
            ends = {"/chat": ("cohere", CHAT), "/embed": ("cohere", "embeddings"), "/rerank": ("cohere", "rerank")}
            return next((it for end, it in ends.items() if path.endswith(end)), (None, None))
        if self.provider == "anthropic":
            if path.endswith("/messages") and post:
                return "anthropic", CHAT
            if re.search(r"/messages/batches/[^/]+/results$", path):
                return "anthropic_results", "fetch_response"
            return None, None
        if self.provider == "xai" and re.search(r"/videos/[^/]+$", path):
            return "video", "video_generation" if post else "fetch_response"
        if path.endswith("/api/chat"):
            return "ollama", CHAT
        if re.search(r"/threads/[^/]+/runs$", path) or path.endswith("/threads/runs"):
            return "run", CHAT if post else None
        if re.search(r"/threads/[^/]+/runs/[^/]+$", path) and not post:
            return "run", "fetch_response"
        if self.provider == "mistral" and re.search(r"/v1/batch/jobs/[^/]+$", path) and not post:
            return "mistral_batch", "fetch_response"
        if re.search(r"/v1/batches(/[^/]+)?$", path):
            return ("batch", "fetch_response") if not post and not path.endswith("/batches") else (None, None)
        if re.search(r"/responses/[^/]+$", path) and not post and self.method == "GET":
            return "responses", "fetch_response"
        ends = [
            ("/chat/completions", "openai", CHAT), ("/completions", "openai", "text_completion"),
            ("/embeddings", "embedding", "embeddings"), ("/responses", "responses", CHAT),
            ("/responses/compact", "responses", CHAT), ("/images/generations", "image", "image_generation"),
            ("/moderations", "moderation", "moderation"),
        ]
        return next(((it[1], it[2]) for it in ends if path.endswith(it[0]) and post), (None, None))

    def asked(self, family):
        put, request = self.facts.put, self.request if isinstance(self.request, dict) else {}
        if family in ("gemini", "embedding_google"):
            model = unquote(self.path.rpartition("/")[2].rpartition(":")[0])
            put("request.model", model, "path.model", "path")
            put("request.stream", self.path.endswith(":streamGenerateContent"), "request.stream", "path")
            return
        deployment = re.search(r"/deployments/([^/]+)/", self.path)
        if request.get("model"):
            put("request.model", request["model"], "request.model", "request/model")
        elif deployment:
            put("request.model", deployment[1], "path.model", "path")
        stream = request.get("stream")
        asks = stream is not False if family == "ollama" else stream is True
        if self.method == "GET":
            asks = "stream=true" in self.query.split("&")
        put("request.stream", asks, "request.stream", "request/stream")

    def ending(self, family):
        if self.status >= 400:
            return "error_status", "ending.status", f"status {self.status}"
        answer = self.answer
        if not answer.streamed or family in (None, "anthropic_results"):
            return "complete", "ending.whole", "body"
        types = [at(value, "type") or at(value, "event_type") for _, value in answer.values]
        last = {
            "responses": {"response.completed", "response.incomplete", "response.failed"},
            "anthropic": {"message_stop"},
            "cohere": {"message-end", "stream-end"},
            "interactions": {"interaction.completed"},
        }.get(family, set())
        if family == "gemini":
            ended = answer.last("/candidates/0/finishReason")[0] is not None
        elif last:
            ended = bool(last & set(types)) or any(at(value, "is_finished") for _, value in answer.values)
        else:
            reasons = [it[0] for it in self.reasons()] if family == "openai" else []
            ended = answer.done or (bool(reasons) and all(reasons))
        return "complete" if ended else "truncated", "ending.terminator", "body's end"

    def failure(self):
        value = self.answer.values[0][1] if self.answer.values else {}
        error = at(value, "error")
        words = []
        if isinstance(error, dict):
            words = [(error.get(key), f"/error/{key}") for key in ("code", "type", "status")]
        words.append((at(value, "code"), "/code"))
        word = next(((it, place) for it, place in words if isinstance(it, str) and it and not it.isdigit()), None)
        if word is None:
            word = (str(self.status), "status")
        self.facts.put("error.type", re.sub(r"[^a-z0-9_.-]", "_", word[0].lower())[:64], "error.word", word[1])
        self.facts.put("error.side", "client" if self.status < 500 else "provider", "error.status", f"status {self.status}")

    def cost(self):
        put, answer = self.facts.put, self.answer
        for pointer, rule, ticks in [
            ("/usage/cost/total_cost", "perplexity.cost", False),
            ("/usage/cost", "openrouter.cost", False),
            ("/usage/cost_in_usd_ticks", "xai.cost", True),
            ("/response/usage/cost_in_usd_ticks", "xai.cost", True),
            ("/usage/pydantic_ai_gateway/cost_estimate", "gateway.cost", False),
        ]:
            amount, place = answer.last(pointer)
            if count(amount) is not None:
                return put("cost", nano(amount, ticks), rule, place)
        return put("cost", "absent", "cost.none", "body")

    def names(self, models, ids, model_rule="response.model", id_rule="response.id"):
        model, place = self.answer.last(*models)
        self.facts.put("response.model", model, model_rule, place)
        found, place = self.answer.first(*ids)
        self.facts.put("response.id", found, id_rule, place)

    def counts(self, rule, base, table):
        """Each fact from its pointer below the usage object at `base`."""
        for name, pointer in table.items():
            value = count(at(self.usage, pointer))
            self.facts.put("usage." + name, value, rule, f"{base}/{pointer}")

    # OpenAI's chat and completions, and those who speak as it does.

    def reasons(self):
        found = {}
        for place, value in self.answer.values:
            for choice in at(value, "choices") or []:
                index = choice.get("index") or 0
                reason = choice.get("finish_reason") or None
                found[index] = (reason, place) if reason else found.get(index, (None, place))
        return [found[index] for index in sorted(found)]

    def openai(self):
        self.names(["/model"], ["/id"])
        reasons = self.reasons()
        self.facts.put("finish_reasons", [it for it, _ in reasons], "openai.finish", (reasons or [("", "")])[-1][1] + "/choices/*/finish_reason")
        self.usage, base = self.answer.last("/usage", "/x_groq/usage")
        if self.usage is None:
            return
        self.counts("openai.usage", base, {
            "input": "prompt_tokens", "output": "completion_tokens",
            "cache_read": "prompt_tokens_details/cached_tokens",
            "cache_write": "prompt_tokens_details/cache_write_tokens",
            "input_audio": "prompt_tokens_details/audio_tokens",
            "input_image": "prompt_tokens_details/image_tokens",
            "input_video": "prompt_tokens_details/video_tokens",
            "reasoning": "completion_tokens_details/reasoning_tokens",
            "output_audio": "completion_tokens_details/audio_tokens",
            "output_image": "completion_tokens_details/image_tokens",
        })
        if self.provider == "perplexity":
            self.counts("openai.usage", base, {"reasoning": "reasoning_tokens", "units.web_searches": "num_search_queries"})
        if "usage.cache_read" not in self.facts:
            self.counts("flat.cached", base, {"cache_read": "cached_tokens"})
            self.counts("flat.cached", base, {"cache_read": "num_cached_tokens"} if "num_cached_tokens" in self.usage else {})
            if "prompt_cache_hit_tokens" in self.usage:
                self.counts("deepseek.usage", base, {"cache_read": "prompt_cache_hit_tokens"})
        asked, spoken, thought, everything = (count(at(self.usage, it)) for it in (
            "prompt_tokens", "completion_tokens", "completion_tokens_details/reasoning_tokens", "total_tokens"))
        # The sum tells, whoever resells it.
        if thought and asked is not None and asked + spoken + thought == everything:
            self.facts.put("usage.output", spoken + thought, "xai.chat.usage", base + "/completion_tokens+reasoning_tokens")

    def embedding(self):
        self.names(["/model"], ["/id"])
        self.usage, base = self.answer.last("/usage")
        if self.usage is None:
            return
        if self.provider == "voyage":
            return self.counts("voyage.usage", base, {"input": "total_tokens"})
        self.counts("openai.embedding.usage", base, {
            "input": "prompt_tokens", "cache_read": "prompt_tokens_details/cached_tokens",
        })

    def image(self):
        self.names(["/model"], ["/id"])
        made = self.answer.last("/data")
        self.facts.put("usage.units.images", len(made[0]), "usage.none", made[1])

    def moderation(self):
        self.names(["/model"], ["/id"])

    # Responses, batches, runs.

    def ended(self, kind=None):
        """The last value that is the object, and its place."""
        for place, value in reversed(self.answer.values):
            inner = at(value, "response")
            if isinstance(inner, dict):
                return inner, place + "/response"
            if kind is None or at(value, "object") == kind:
                return value, place
        return {}, ""

    def responses(self):
        it, base = self.ended()
        put = self.facts.put
        put("response.model", it.get("model"), "response.model", base + "/model")
        put("response.id", it.get("id"), "response.id", base + "/id")
        status = it.get("status")
        if status and status not in RUNNING:
            put("finish_reasons", [status], "responses.finish", base + "/status")
        self.usage = it.get("usage")
        if self.usage is None:
            return
        self.counts("responses.usage", base + "/usage", {
            "input": "input_tokens", "output": "output_tokens",
            "cache_read": "input_tokens_details/cached_tokens",
            "cache_write": "input_tokens_details/cache_write_tokens",
            "cache_write_long": "input_tokens_details/cache_write_tokens_details/ttl_12h_tokens",
            "reasoning": "output_tokens_details/reasoning_tokens",
        })
        items = it.get("output") or []
        of = lambda kind: [item for item in items if item.get("type") == kind]
        told = count(at(it, "tool_usage/web_search/num_requests"))
        searched = len([item for item in of("web_search_call") if at(item, "action/type") == "search"])
        if told is not None:
            put("usage.units.web_searches", told, "responses.tools", base + "/tool_usage/web_search/num_requests")
        elif searched:
            put("usage.units.web_searches", searched, "responses.tools", base + "/output/*/action/type")
        if of("file_search_call"):
            put("usage.units.file_searches", len(of("file_search_call")), "responses.tools", base + "/output/*/type")
        containers = {item.get("container_id") for item in of("code_interpreter_call")}
        if containers:
            put("usage.units.code_sessions", len(containers), "responses.tools", base + "/output/*/container_id")

    def run(self):
        it, base = self.ended("thread.run")
        self.of_job(it, base, "run.usage", {"input": "prompt_tokens", "output": "completion_tokens", "cache_read": "prompt_token_details/cached_tokens", "reasoning": "completion_tokens_details/reasoning_tokens"})

    def batch(self):
        it, base = self.ended()
        self.of_job(it, base, "batch.usage", {"input": "input_tokens", "output": "output_tokens", "cache_read": "input_tokens_details/cached_tokens", "reasoning": "output_tokens_details/reasoning_tokens"})

    def mistral_batch(self):
        it, base = self.ended()
        put = self.facts.put
        put("response.model", it.get("model"), "response.model", base + "/model")
        put("response.id", it.get("id"), "response.id", base + "/id")
        if it["status"] in MISTRAL_RUNNING:
            return
        put("finish_reasons", [it["status"]], "mistral.batch", base + "/status")
        usages = [at(output, "response/body/usage") or {} for output in it.get("outputs") or []]
        for name, pointer in {
            "input": "prompt_tokens", "output": "completion_tokens",
            "cache_read": "prompt_tokens_details/cached_tokens", "input_audio": "prompt_tokens_details/audio_tokens",
        }.items():
            told = total(*(count(at(usage, pointer)) for usage in usages))
            put("usage." + name, told, "mistral.batch", f"{base}/outputs/*/response/body/usage/{pointer}")

    def of_job(self, it, base, rule, table):
        put = self.facts.put
        put("response.model", it.get("model"), "response.model", base + "/model")
        put("response.id", it.get("id"), "response.id", base + "/id")
        if it.get("status") is None or it["status"] in RUNNING:
            return
        put("finish_reasons", [it["status"]], "responses.finish", base + "/status")
        self.usage = it.get("usage")
        if self.usage is not None:
            self.counts(rule, base + "/usage", table)

    # Anthropic.

    def anthropic(self):
        self.names(["/message/model", "/model"], ["/message/id", "/id"])
        reason, place = self.answer.last("/stop_reason", "/delta/stop_reason")
        self.facts.put("finish_reasons", [reason], "anthropic.finish", place)
        merged, base = {}, ""
        for usage, place in self.answer.all("/message/usage", "/usage"):
            merged |= {key: value for key, value in usage.items() if value is not None}
            base = place
        if not merged:
            return
        self.usage = merged
        plain, written, read = (count(merged.get(key)) for key in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"))
        self.facts.put("usage.input", total(plain, written, read), "anthropic.usage", base + "/input_tokens+cache_creation_input_tokens+cache_read_input_tokens")
        self.counts("anthropic.usage", base, {
            "output": "output_tokens", "cache_read": "cache_read_input_tokens",
            "cache_write": "cache_creation_input_tokens",
            "cache_write_long": "cache_creation/ephemeral_1h_input_tokens",
            "reasoning": "output_tokens_details/thinking_tokens",
            "units.web_searches": "server_tool_use/web_search_requests",
        })
        others = [it for it in merged.get("iterations") or [] if it.get("type") in ("advisor_message", "fallback_message")]
        if others:
            keys = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
            self.facts.put("usage.units.other_models", sum(it.get(key) or 0 for it in others for key in keys), "anthropic.usage", base + "/iterations/*")

    def anthropic_results(self):
        message = "/result/message"
        model, place = self.answer.last(message + "/model")
        self.facts.put("response.model", model, "response.model", place)
        self.facts.put("response.id", self.path.split("/")[-2], "anthropic.results", "path")
        usages = [usage for usage, _ in self.answer.all(message + "/usage")]
        of = lambda *keys: total(*(count(usage.get(key)) for usage in usages for key in keys))
        place = "data[*]" + message + "/usage"
        for name, keys in {
            "input": ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"),
            "output": ("output_tokens",),
            "cache_read": ("cache_read_input_tokens",),
            "cache_write": ("cache_creation_input_tokens",),
        }.items():
            self.facts.put("usage." + name, of(*keys), "anthropic.results", f"{place}/{'+'.join(keys)}")
        long = total(*(count(at(usage, "cache_creation/ephemeral_1h_input_tokens")) for usage in usages))
        self.facts.put("usage.cache_write_long", long, "anthropic.results", place + "/cache_creation/ephemeral_1h_input_tokens")

    # xAI's videos.

    def video(self):
        found, place = self.answer.first("/request_id")
        self.facts.put("response.id", found, "xai.video", place)

    # Google.

    def gemini(self):
        self.names(["/modelVersion"], ["/responseId"], "gemini.model", "gemini.model")
        reasons = {}
        for place, value in self.answer.values:
            for at_, it in enumerate(at(value, "candidates") or []):
                index = it.get("index") or at_
                reasons[index] = it.get("finishReason") or reasons.get(index)
        self.facts.put("finish_reasons", [reasons[key] for key in sorted(reasons)], "gemini.finish", "/candidates/*/finishReason")
        self.usage, base = self.answer.last("/usageMetadata")
        if not self.usage:
            return
        u = lambda key: count(self.usage.get(key))
        self.facts.put("usage.input", total(u("promptTokenCount"), u("toolUsePromptTokenCount")), "gemini.usage", base + "/promptTokenCount+toolUsePromptTokenCount")
        self.facts.put("usage.output", total(u("candidatesTokenCount"), u("thoughtsTokenCount")), "gemini.usage", base + "/candidatesTokenCount+thoughtsTokenCount")
        self.counts("gemini.usage", base, {"cache_read": "cachedContentTokenCount", "reasoning": "thoughtsTokenCount"})
        input_ = total(u("promptTokenCount"), u("toolUsePromptTokenCount"))
        self.modalities("input", ["promptTokensDetails", "toolUsePromptTokensDetails"], "tokenCount", input_, base)
        self.modalities("cache_read", ["cacheTokensDetails"], "tokenCount", u("cachedContentTokenCount"), base)
        self.modalities("output", ["candidatesTokensDetails"], "tokenCount", u("candidatesTokenCount"), base)

    def modalities(self, side, lists, key, whole, base):
        listed = [(it.get("modality", "").lower().replace("document", "image"), it.get(key) or 0) for name in lists for it in self.usage.get(name) or []]
        if not listed:
            return
        named = {modality for modality, _ in listed}
        for modality in ("audio", "image", "video"):
            if f"{side}_{modality}" in ("cache_read_video", "output_video"):
                continue
            if modality in named or sum(tokens for _, tokens in listed) == whole:
                told = sum(tokens for it, tokens in listed if it == modality)
                self.facts.put(f"usage.{side}_{modality}", told, "gemini.modality", f"{base}/{lists[0]}")

    def embedding_google(self):
        self.names(["/modelVersion"], ["/responseId"], "gemini.model", "gemini.model")
        for value, place in self.answer.all("/predictions"):
            told = [count(at(it, "embeddings/statistics/token_count")) for it in value]
            self.facts.put("usage.input", total(*told), "gemini.predict", place + "/*/embeddings/statistics/token_count")
        characters, place = self.answer.last("/metadata/billableCharacterCount")
        self.facts.put("usage.units.characters", characters, "gemini.predict", place)
        self.usage, base = self.answer.last("/usageMetadata")
        if self.usage:
            self.counts("gemini.usage", base, {"input": "promptTokenCount"})

    def interactions(self):
        self.names(["/interaction/model", "/model"], ["/interaction/id", "/id"])
        status, place = self.answer.last("/interaction/status", "/status")
        self.facts.put("finish_reasons", [status], "responses.finish", place)
        self.usage, base = self.answer.last("/interaction/usage", "/usage")
        if not self.usage:
            return
        u = lambda key: count(self.usage.get(key))
        self.facts.put("usage.input", total(u("total_input_tokens"), u("total_tool_use_tokens")), "interactions.usage", base + "/total_input_tokens+total_tool_use_tokens")
        self.facts.put("usage.output", total(u("total_output_tokens"), u("total_thought_tokens")), "interactions.usage", base + "/total_output_tokens+total_thought_tokens")
        self.counts("interactions.usage", base, {"cache_read": "total_cached_tokens", "reasoning": "total_thought_tokens"})
        input_ = total(u("total_input_tokens"), u("total_tool_use_tokens"))
        self.modalities("input", ["input_tokens_by_modality", "tool_use_tokens_by_modality"], "tokens", input_, base)

    # Cohere, Ollama.

    def cohere(self):
        found, place = self.answer.first("/id", "/generation_id", "/response/generation_id")
        self.facts.put("response.id", found, "cohere.id", place)
        if self.path.endswith("/chat"):
            reason, place = self.answer.last("/finish_reason", "/delta/finish_reason")
            self.facts.put("finish_reasons", [reason], "cohere.finish", place)
        self.usage, base = self.answer.last("/usage/billed_units", "/meta/billed_units", "/delta/usage/billed_units", "/response/meta/billed_units")
        if self.usage is None:
            return
        self.counts("cohere.usage", base, {"input": "input_tokens", "output": "output_tokens", "input_image": "image_tokens", "units.documents": "search_units"})
        pictures = count(self.usage.get("image_tokens"))
        if pictures is not None:
            self.facts.put("usage.input", total(count(self.usage.get("input_tokens")), pictures), "cohere.usage", base + "/input_tokens+image_tokens")

    def ollama(self):
        model, place = self.answer.last("/model")
        self.facts.put("response.model", model, "response.model", place)
        reason, place = self.answer.last("/done_reason")
        self.facts.put("finish_reasons", [reason], "ollama.finish", place)
        for name, pointer in (("input", "/prompt_eval_count"), ("output", "/eval_count")):
            value, place = self.answer.last(pointer)
            self.facts.put("usage." + name, value, "ollama.usage", place)


def crc32(recording):
    return f"{zlib.crc32(b''.join((recording[key] or '').encode() for key in ('path', 'request_body', 'response_body'))):08x}"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        recordings = [json.loads(line) for line in file]
    read = [(it, Reader(it).read()) for it in recordings]
    if "--show" in sys.argv:
        wanted = sys.argv[sys.argv.index("--show") + 1 :]
        told = [(it["id"], name, *fact) for it, facts in read for name, fact in facts.items() if fact[1] not in ("streamed", "path.none")]
        random.seed(int(wanted[1]) if len(wanted) > 1 else 1)
        for id_, name, value, rule, place in random.sample(told, int(wanted[0])):
            print(f"{id_}  {name} = {json.dumps(value)}  <- {place}  [{rule}: {RULES[rule][1].split(';')[0]}]")
        return
    used = {fact[1] for _, facts in read for fact in facts.values()}
    for rule, (says, page) in RULES.items():
        if rule in used:
            print(json.dumps({"rule": rule, "says": says, "page": page}))
    for recording, facts in read:
        print(json.dumps({"id": recording["id"], "crc32": crc32(recording), "facts": facts}))


main()
