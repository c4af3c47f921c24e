#!/usr/bin/env bash
# check.sh PROGRAM: builds the image's last stage around a static PROGRAM, and runs it as production would: no
# capability, a read-only root, not root. A call goes through it, a stream outlives SIGTERM, and it ends well.
# Needs buildah, podman, curl and python3, and no registry. PROGRAM comes of
#   RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --target x86_64-unknown-linux-gnu
# In a container that may not start containers in the usual way:
#   PODMAN="podman --cgroup-manager cgroupfs --runtime runc" LIMITS="--ulimit nofile=20000:20000 --ulimit nproc=1000:1000"
set -euo pipefail
program=$(realpath "$1") && cd "$(dirname "$0")/.."
read -ra podman <<< "${PODMAN:-podman}"
read -ra limits <<< "${LIMITS:-}"
work=$(mktemp -d)
name="clearspan-check-$$"
port=$((20000 + RANDOM % 10000))
trap 'kill "$(cat "$work/pid")" || true; "${podman[@]}" rm --force "$name" > "$work/rm" 2>&1 || true; rm -r "$work"' EXIT
fail() { echo "FAILED: $*" >&2; "${podman[@]}" logs "$name" >&2 || true; exit 1; }

docker/root.sh "$program" "$work/build/root-of-the-image"
buildah bud --quiet --isolation chroot --format docker --build-arg TARGETARCH=amd64 \
  --build-context "build=$work/build" --file docker/Dockerfile --tag localhost/clearspan-check . > "$work/built"
echo "image: $("${podman[@]}" image inspect --format '{{.Size}}' localhost/clearspan-check) bytes, user $("${podman[@]}" image inspect --format '{{.User}}' localhost/clearspan-check)"

# An upstream that streams ten words, one each 0.3 s.
cat > "$work/upstream.py" <<'PYTHON'
import http.server, sys, time
class Upstream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        events = ['{"model":"m","choices":[{"index":0,"delta":{"content":"word "}}]}'] * 10 + ["[DONE]"]
        for event in events:
            self.wfile.write(b"%x\r\ndata: %s\n\n\r\n" % (len(event) + 8, event.encode()))
            time.sleep(0.3)
        self.wfile.write(b"0\r\n\r\n")
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Upstream).serve_forever()
PYTHON
python3 "$work/upstream.py" "$((port + 2))" 2> "$work/upstream" & echo $! > "$work/pid"
for _ in $(seq 100); do (: < "/dev/tcp/127.0.0.1/$((port + 2))") 2> "$work/reached" && break; sleep 0.1; done
# The name is found through the image's own nsswitch.conf.
printf '[[upstream]]\nname = "openai"\nurl = "http://upstream.test:%s"\npaths = ["/v1/"]\n' "$((port + 2))" > "$work/proxy.toml"

"${podman[@]}" run --detach --name "$name" ${limits[@]+"${limits[@]}"} --network host --add-host upstream.test:127.0.0.1 \
  --read-only --cap-drop all --security-opt no-new-privileges --volume "$work/proxy.toml:/etc/clearspan/proxy.toml:ro" \
  --env CLEARSPAN_SERVER_LISTEN="127.0.0.1:$port" --env CLEARSPAN_SERVER_ADMIN="127.0.0.1:$((port + 1))" \
  localhost/clearspan-check > "$work/id" 2> "$work/run" || fail "it does not start: $(cat "$work/run")"
curl --silent --fail --retry 20 --retry-connrefused --retry-delay 1 "127.0.0.1:$((port + 1))/readyz" > "$work/ready" || fail "it is not ready"
"${podman[@]}" exec "$name" /usr/local/bin/clearspan healthcheck > "$work/health" || fail "its health check fails"

curl --silent --show-error --no-buffer --data '{"model":"m","stream":true}' "127.0.0.1:$port/v1/chat/completions" > "$work/stream" & stream=$!
for _ in $(seq 100); do grep -q word "$work/stream" && break; sleep 0.05; done
id=$("${podman[@]}" inspect --format '{{.State.Pid}}' "$name")
echo "process: $(grep -E '^(Uid|CapEff|NoNewPrivs|VmRSS)' "/proc/$id/status" | tr -s '\t\n' '  ')"
grep -q '^Uid:.65532' "/proc/$id/status" && grep -q '^CapEff:.0000000000000000' "/proc/$id/status" || fail "it has more rights than it needs"
"${podman[@]}" stop --time 10 "$name" > "$work/stop" 2>&1
wait "$stream" || fail "the stream was cut off"
[ "$(grep -c word "$work/stream")" = 10 ] && grep -q DONE "$work/stream" || fail "the stream is not whole"
status=$("${podman[@]}" inspect --format '{{.State.ExitCode}}' "$name")
[ "$status" = 0 ] || fail "it ended with $status"
echo "stream: whole, though SIGTERM came at its beginning; exit status $status"
