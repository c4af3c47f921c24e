// What an app sees through npm's `openai` and `@ai-sdk/openai`, which know only OPENAI_BASE_URL and OPENAI_API_KEY.
// Prints one JSON object a line: the name of the call, and the events it gave, without what differs between runs.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// The packages stand where this is run, not beside this file.
const require = createRequire(`${process.cwd()}/`);
const load = async (name) => import(pathToFileURL(require.resolve(name)));
const { default: OpenAI } = await load("openai");
const { openai } = await load("@ai-sdk/openai");
const { generateText, streamText } = await load("ai");

const varying = new Set(["id", "created", "created_at", "completed_at", "item_id", "timings", "system_fingerprint", "timestamp", "headers", "itemId", "responseId", "__verbose"]);
const steady = (key, value) => (varying.has(key) ? undefined : value);
const show = (call, ...events) => console.log(JSON.stringify({ call, events }, steady));
const asked = { model: "tiny", seed: 7, temperature: 0, max_tokens: 24, messages: [{ role: "user", content: "What does the licence say?" }] };
const client = new OpenAI({ maxRetries: 0 });

async function gather(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

show("models", ...(await gather(client.models.list())));
show("chat", await client.chat.completions.create(asked));
const streamed = { ...asked, stream: true, stream_options: { include_usage: true } };
show("chat streamed", ...(await gather(await client.chat.completions.create(streamed))));
const response = { model: "tiny", input: "What does the licence say?", temperature: 0, max_output_tokens: 24 };
show("response", await client.responses.create(response));
show("response streamed", ...(await gather(await client.responses.create({ ...response, stream: true }))));

const settings = { prompt: "What does the licence say?", temperature: 0, maxOutputTokens: 24, maxRetries: 0 };
const told = ({ text, finishReason, usage }) => ({ text, finishReason, usage });
show("ai-sdk chat", told(await generateText({ ...settings, model: openai.chat("tiny") })));
show("ai-sdk response", told(await generateText({ ...settings, model: openai("tiny") })));
const text = streamText({ ...settings, model: openai.chat("tiny") });
const pieces = await gather(text.textStream);
show("ai-sdk chat streamed", pieces, await text.usage, await text.finishReason);
