"""Speaks Ollama's native API with scripted answers. No real Ollama runs: no package carries it here.

usage: mini_ollama.py

Its lines have the fields, types and order of recorded ones (tests/it/recordings.rs compares them where
the recordings are at hand). Listens on a free port of 127.0.0.1 and prints `listening on URL`.
"""

import http.server
import json
import time

WORDS = ["Hello", " from", " a", " scripted", " model", "."]
STATISTICS = {
    "total_duration": 51234567,
    "load_duration": 1234567,
    "prompt_eval_count": 11,
    "prompt_eval_duration": 2345678,
    "eval_count": len(WORDS),
    "eval_duration": 45678901,
}
MODEL = {
    "name": "tiny:latest",
    "model": "tiny:latest",
    "modified_at": "2026-11-01T10:00:00Z",
    "size": 1,
    "digest": "0" * 64,
    "details": {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "2.6M",
        "quantization_level": "F32",
    },
}


class Ollama(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(b"", "text/plain; charset=utf-8")

    def do_GET(self):
        if self.path == "/":
            self.answer(b"Ollama is running", "text/plain; charset=utf-8")
        elif self.path == "/api/tags":
            self.answer_json({"models": [MODEL]})
        elif self.path == "/api/version":
            self.answer_json({"version": "0.0.0-scripted"})
        else:
            self.answer_json({"error": "not found"}, 404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = json.loads(body or b"{}")
        if self.path in ("/api/chat", "/api/generate"):
            self.generate(asked)
        elif self.path == "/api/embed":
            given = asked["input"]
            count = len(given) if isinstance(given, list) else 1
            self.answer_json({
                "model": asked["model"],
                "embeddings": [[0.1, 0.2, 0.3]] * count,
                "total_duration": 1500000,
                "load_duration": 500000,
                "prompt_eval_count": 2 * count,
            })
        else:
            self.answer_json({"error": "not found"}, 404)

    def generate(self, asked):
        if asked.get("model") == "missing":
            return self.answer_json({"error": "model 'missing' not found"}, 404)
        lines = list(self.lines(asked))
        if asked.get("stream", True) is False:
            return self.answer_json(self.joined(lines, asked))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in lines:
            text = json.dumps(line, separators=(",", ":")).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
            self.wfile.flush()
            time.sleep(0.01)
        self.wfile.write(b"0\r\n\r\n")

    def lines(self, asked):
        """A tool call where tools are offered, words otherwise; then the last line."""
        if asked.get("tools"):
            function = asked["tools"][0]["function"]["name"]
            call = {"id": "call_1", "function": {"index": 0, "name": function, "arguments": {"city": "Oslo"}}}
            message = {"role": "assistant", "content": "", "tool_calls": [call]}
            yield {**self.head(asked), "message": message, "done": False}
        else:
            for word in WORDS:
                yield {**self.head(asked), **self.piece(word), "done": False}
        yield {**self.head(asked), **self.piece(""), "done": True, "done_reason": "stop", **STATISTICS}

    def joined(self, lines, asked):
        answer = dict(lines[-1])
        if self.path == "/api/generate":
            answer["response"] = "".join(line["response"] for line in lines)
        else:
            content = "".join(line["message"]["content"] for line in lines)
            answer["message"] = {**lines[0]["message"], "content": content}
        return answer

    def head(self, asked):
        return {"model": asked.get("model", ""), "created_at": "2026-11-01T10:00:00.123456Z"}

    def piece(self, text):
        if self.path == "/api/generate":
            return {"response": text}
        return {"message": {"role": "assistant", "content": text}}

    def answer_json(self, value, status=200):
        text = json.dumps(value, separators=(",", ":")).encode()
        self.answer(text, "application/json; charset=utf-8", status)

    def answer(self, body, content_type, status=200):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ollama)
print(f"listening on http://127.0.0.1:{server.server_address[1]}", flush=True)
server.serve_forever()
