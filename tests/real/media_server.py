"""Images, sound, transcriptions and moderations in the shapes that OpenAI documents: a scripted server.

The shapes are those of the types of the provider's SDK for Python 3.52. A form is read with the standard library's parser,
so that what arrives is what a server of another make understands. Prints "listening on URL" when it is ready.
"""

import email.parser
import email.policy
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PICTURE = "iVBORw0KGgoAAAANSUhEUgAA" * 4000
IMAGE_USAGE = {
    "input_tokens": 50,
    "input_tokens_details": {"image_tokens": 40, "text_tokens": 10},
    "output_tokens": 272,
    "total_tokens": 322,
}
TOKENS = {
    "type": "tokens",
    "input_tokens": 37,
    "input_token_details": {"text_tokens": 0, "audio_tokens": 37},
    "output_tokens": 144,
    "total_tokens": 181,
}


def form(content_type, body):
    """The fields of a form, and the length of each file."""
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    message = parser.parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    fields = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        fields[name] = len(content) if part.get_filename() else content.decode()
    return fields


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, content_type, pieces):
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def json(self, value):
        self.reply("application/json", [json.dumps(value).encode()])

    def events(self, *events):
        lines = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]
        self.reply("text/event-stream; charset=utf-8", lines)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        content_type = self.headers["Content-Type"]
        asked = form(content_type, body) if content_type.startswith("multipart/") else json.loads(body)
        family = self.path.removeprefix("/v1/")
        if family.startswith("images/"):
            self.images("image_edit" if family == "images/edits" else "image_generation", asked)
        elif family == "audio/speech":
            self.speech(asked)
        elif family.startswith("audio/"):
            self.heard(asked)
        else:
            result = {"flagged": False, "categories": {}, "category_scores": {}, "category_applied_input_types": {}}
            self.json({"id": "modr-1", "model": "omni-moderation-2024-09-26", "results": [result]})

    def images(self, kind, asked):
        facts = {"background": "opaque", "output_format": "png", "quality": "low", "size": "1024x1024"}
        if str(asked.get("stream")).lower() != "true":
            count = int(asked.get("n", 1))
            self.json({"created": 1, "data": [{"b64_json": PICTURE}] * count, **facts, "usage": IMAGE_USAGE})
            return
        facts = {**facts, "created_at": 1, "b64_json": PICTURE}
        partial = {"type": f"{kind}.partial_image", **facts, "partial_image_index": 0}
        self.events(partial, {"type": f"{kind}.completed", **facts, "usage": IMAGE_USAGE})

    def speech(self, asked):
        if asked.get("stream_format") != "sse":
            self.reply("audio/mpeg", [b"ID3" + bytes(5000), bytes(5000)])
            return
        usage = {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}
        self.events({"type": "speech.audio.delta", "audio": "SUQz"}, {"type": "speech.audio.done", "usage": usage})

    def heard(self, asked):
        assert isinstance(asked["file"], int), "the file came as a file"
        text = f"{asked['file']} bytes, {asked['model']}"
        if asked.get("stream") == "true":
            delta = {"type": "transcript.text.delta", "delta": text}
            self.events(delta, {"type": "transcript.text.done", "text": text, "usage": TOKENS})
        elif asked.get("response_format") in ("text", "srt", "vtt"):
            self.reply("text/plain; charset=utf-8", [b"1\n00:00:00,000 --> 00:00:03,300\n" + text.encode() + b"\n"])
        elif asked["model"] == "whisper-1":
            self.json({"text": text, "usage": {"type": "duration", "seconds": 4}})
        else:
            self.json({"text": text, "usage": TOKENS})


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
