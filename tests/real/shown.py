"""What a client's script prints: one JSON object a line, without what differs from one run to the next.
Knows no client."""

import json

VARYING = {
    "id", "created", "created_at", "completed_at", "item_id", "call_id", "timings", "system_fingerprint", "__verbose",
    "run_id", "response_headers", "sdk_http_response", "_request_id",
}


def steady(value):
    if isinstance(value, dict):
        return {key: steady(it) for key, it in value.items() if key not in VARYING}
    return [steady(it) for it in value] if isinstance(value, (list, tuple)) else value


def show(name, *events):
    seen = [steady(event.model_dump(mode="json") if hasattr(event, "model_dump") else event) for event in events]
    print(json.dumps({"call": name, "events": seen}, sort_keys=True), flush=True)


def refused(name, status, body):
    print(json.dumps({"call": name, "status": status, "body": body}, sort_keys=True), flush=True)
