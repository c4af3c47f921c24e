"""Speaks the Gemini API with scripted answers, in the shapes of its own SDK (google-genai 3.4.0, types.py).

usage: mini_gemini.py

Listens on a free port of 127.0.0.1 and prints `listening on URL`.
"""

import http.server
import json
import re
import time

WORDS = ["Hello", " from", " a", " scripted", " model."]
PROMPT, THOUGHTS = 7, 3


def usage(words):
    return {
        "promptTokenCount": PROMPT,
        "candidatesTokenCount": words,
        "thoughtsTokenCount": THOUGHTS,
        "totalTokenCount": PROMPT + words + THOUGHTS,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": PROMPT}],
        "serviceTier": "standard",
    }


def chunk(parts, words, finish=None):
    candidate = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {
        "candidates": [candidate],
        "usageMetadata": usage(words),
        "modelVersion": "tiny-001",
        "responseId": "r-1",
    }


class Gemini(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer({"models": [{"name": "models/tiny", "version": "001", "displayName": "Tiny"}]})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        called = re.fullmatch(r"/v1(?:beta)?/models/([^/:]+):(\w+)(\?alt=sse)?", self.path)
        if not called or called[1] != "tiny":
            error = {"code": 404, "message": "models/missing is not found", "status": "NOT_FOUND"}
            return self.answer({"error": error}, 404)
        match called[2]:
            case "generateContent" if asked.get("tools"):
                self.answer(chunk([{"functionCall": {"name": "get_weather", "args": {"city": "Oslo"}}}], 6, "STOP"))
            case "generateContent":
                self.answer(chunk([{"text": "".join(WORDS)}], len(WORDS), "STOP"))
            case "streamGenerateContent":
                self.stream()
            case "countTokens":
                self.answer({"totalTokens": PROMPT, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": PROMPT}]})
            case "embedContent":
                self.answer({"embedding": {"values": [0.1, 0.2]}, "usageMetadata": {"promptTokenCount": PROMPT}})
            case "batchEmbedContents":
                embeddings = [{"values": [0.1, 0.2]}] * len(asked["requests"])
                self.answer({"embeddings": embeddings, "usageMetadata": {"promptTokenCount": PROMPT}})

    def stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for count, word in enumerate(WORDS, 1):
            finish = "STOP" if count == len(WORDS) else None
            event = b"data: " + json.dumps(chunk([{"text": word}], count, finish)).encode() + b"\r\n\r\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            self.wfile.flush()
            time.sleep(0.01)
        self.wfile.write(b"0\r\n\r\n")

    def answer(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("X-Gemini-Service-Tier", "standard")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gemini)
print(f"listening on http://127.0.0.1:{server.server_address[1]}", flush=True)
server.serve_forever()
