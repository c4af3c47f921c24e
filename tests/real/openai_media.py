"""Pictures, sound and moderations through the `openai` SDK, which knows only OPENAI_BASE_URL and OPENAI_API_KEY.

Prints one JSON object a line: the name of the call, and what it gave; of pictures and sound, how long they are.
"""

import json

import openai

client = openai.OpenAI(max_retries=0)


def steady(value):
    if isinstance(value, dict):
        return {key: steady(it) for key, it in value.items() if it is not None}
    if isinstance(value, list):
        return [steady(it) for it in value]
    return f"{len(value)} characters" if isinstance(value, str) and len(value) > 1000 else value


def show(call, *events):
    given = [steady(event if isinstance(event, (str, int)) else event.model_dump(mode="json")) for event in events]
    print(json.dumps({"call": call, "events": given}, sort_keys=True), flush=True)


picture = ("hat.png", b"\x89PNG\r\n\x1a\n" + bytes(3000), "image/png")
sound = ("speech.wav", b"RIFF\r\n--" + bytes(70000), "audio/wav")
drawn = {"model": "gpt-image-2", "prompt": "a hat", "quality": "low"}
show("image", client.images.generate(**drawn, n=2, size="1024x1024"))
show("image streamed", *client.images.generate(**drawn, stream=True, partial_images=1))
show("image edited", client.images.edit(image=[picture, picture], model="gpt-image-1.5", prompt="a hat"))
show("image edited, streamed", *client.images.edit(image=picture, model="gpt-image-2", prompt="a hat", stream=True))
spoken = {"input": "Grüße", "voice": "alloy"}
with client.audio.speech.with_streaming_response.create(model="tts-1", **spoken) as response:
    show("speech", sum(len(piece) for piece in response.iter_bytes()))
show("speech in events", client.audio.speech.create(model="gpt-4o-mini-tts", stream_format="sse", **spoken).text)
show("transcription", client.audio.transcriptions.create(file=sound, model="gpt-4o-transcribe"))
show("transcription by the second", client.audio.transcriptions.create(file=sound, model="whisper-1"))
show("transcription as subtitles", client.audio.transcriptions.create(file=sound, model="whisper-1", response_format="srt"))
streamed = client.audio.transcriptions.create(file=sound, model="gpt-4o-mini-transcribe", stream=True)
show("transcription streamed", *streamed)
show("translation", client.audio.translations.create(file=sound, model="whisper-1"))
show("moderation", client.moderations.create(input="a hat"))
