"""Checks a collector's configuration on standard input without a collector: what its pipelines name is defined,
and what is defined is used. Prints what is wrong and exits with 1. Knows no component's own settings."""

import sys

import yaml

config = yaml.safe_load(sys.stdin)
service = config["service"]
used = {kind: set() for kind in ["receivers", "processors", "exporters", "extensions"]}
used["extensions"] |= set(service["extensions"])
for pipeline in service["pipelines"].values():
    for kind, names in pipeline.items():
        used[kind] |= set(names)
wrong = []
for kind, names in used.items():
    defined = set(config[kind])
    wrong += [f"{kind}: {name} is not defined" for name in names - defined]
    wrong += [f"{kind}: {name} is not used" for name in defined - names]
for pipeline, parts in service["pipelines"].items():
    if parts["processors"][0] != "memory_limiter":
        wrong.append(f"{pipeline}: the memory limiter comes first")
print("\n".join(wrong))
sys.exit(bool(wrong))
