"""llama.cpp's HTTP server with a model file, until SIGTERM.

usage: llama_server.py MODEL [--embedding]

Listens on a free port of 127.0.0.1 and prints `listening on URL`.
"""

import signal
import socket
import sys
import threading

import xllamacpp


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main() -> None:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = sys.argv[1]
    parameters.model_alias = {"tiny"}
    parameters.port = free_port()
    parameters.n_ctx = 8192
    parameters.n_parallel = 2
    parameters.n_gpu_layers = 0
    parameters.cpuparams.n_threads = 1
    parameters.use_jinja = True
    parameters.offline = True
    # The second of two equal runs is not told that its prompt was cached.
    parameters.cache_prompt = False
    if "--embedding" in sys.argv:
        parameters.embedding = True
        parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    # Set before the server starts, so that an early signal is not lost.
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    server = xllamacpp.Server(parameters)
    print(f"listening on {server.listening_address}", flush=True)
    stopped.wait()


main()
