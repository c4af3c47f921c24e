"""Makes table.json, the price table that the program carries, from the PyPI package genai-prices.

A maintainer runs it, in any empty folder, when prices are to be brought up to date:

    uv venv && uv pip install genai-prices          # or genai-prices==X
    .venv/bin/python PATH/TO/src/observe/price/refresh.py

It needs no network of its own and writes the same bytes for the same package. `date` is the day on
which the contents last changed; `--date YYYY-MM-DD` sets it. Read the diff before committing it.

What is kept: which names a provider and a model answer to, and what they charge, for tokens and for
what is counted otherwise (searches, pages, hours of sound). What usage never tells is named: `unpriced`
lists charges that hide inside the token totals (their sum is then a lower bound). `terms` are rules
that the package holds in code. Left out whole: variants by `route` and `search_type`, which no answer
shows. What the package lacks stands in overlay.json.

The package's words become ours: `service_tier`, `processing` and `speed` are all `tier`.
"""

import argparse
import datetime
import json
import pathlib
import re
import sys
from decimal import Decimal
from importlib import metadata

from genai_prices import types
from genai_prices.data import providers

# What usage can count, in the order in which rates are written.
RATES = {
    "input_mtok": "input",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
    "input_audio_mtok": "input_audio",
    "cache_audio_read_mtok": "cache_read_audio",
    "input_image_mtok": "input_image",
    "cache_image_read_mtok": "cache_read_image",
    "input_video_mtok": "input_video",
    "output_audio_mtok": "output_audio",
    "output_image_mtok": "output_image",
    "requests_kcount": "request",
    "web_searches_kcount": "web_search",
    "storage_searches_kcount": "file_search",
    "rerank_searches_kcount": "rerank_search",
    "input_text_messages_kcount": "message",
    "input_document_kpages": "page",
    "input_annotated_document_kpages": "annotated_page",
    "input_mchars": "character",
    "audio_hours": "audio_hour",
    "input_audio_hours": "input_audio_hour",
}
# Charges inside the totals that usage does not tell, and the total's rate that they must not be below.
UNPRICED = {
    "output_video_mtok": ("output_video", "output_mtok"),
    "output_citation_mtok": ("citation", None),
}
# Parts that are charged at the total's rate where usage does not tell them, and so must not be below it.
DEARER = {
    "input_image_mtok": "input_mtok",
    "input_video_mtok": "input_mtok",
    "cache_image_read_mtok": "cache_read_mtok",
    "output_image_mtok": "output_mtok",
    "input_annotated_document_kpages": "input_document_kpages",
}
# Models whose shortest sound is charged as ten seconds (in the package's code: ModelInfo.calc_price).
TEN_SECONDS = {("groq", "whisper-large-v3"), ("groq", "whisper-large-v3-turbo")}
TIER_KEYS = ("service_tier", "processing", "speed")
NANO = Decimal("0.000000001")


def clause(match):
    """A matching tree; literals in lower case, since names are matched in lower case."""
    match match:
        case types.ClauseEquals():
            return {"is": match.equals.lower()}
        case types.ClauseStartsWith():
            return {"starts": match.starts_with.lower()}
        case types.ClauseEndsWith():
            return {"ends": match.ends_with.lower()}
        case types.ClauseContains():
            return {"has": match.contains.lower()}
        case types.ClauseOr():
            return {"any": [clause(each) for each in match.or_]}
        case types.ClauseAnd():
            return {"all": [clause(each) for each in match.and_]}
        case types.ClauseRegex():
            return pattern(match.regex)
    sys.exit(f"a clause of an unknown kind: {match}")


def pattern(regex):
    """A pattern without look-around: `^(?!A)B` is `^B` and not `^A`. Of digits alone it is a shape."""
    if re.fullmatch(r"\^(?:[a-z0-9/:@-]|\\[.]|\\d(?:\{\d\})?)*\$", regex):
        digits = re.sub(r"\\d(?:\{(\d)\})?", lambda found: "#" * int(found[1] or 1), regex[1:-1])
        return {"shape": digits.replace("\\", "")}
    ahead = re.match(r"\^\(\?!((?:[^()\\]|\\.|\[[^]]*\]|\((?:[^()\\]|\\.)*\))*)\)", regex)
    if ahead is None:
        if re.search(r"\(\?[=!<]", regex):
            sys.exit(f"a pattern with look-around: {regex}")
        return {"regex": regex}
    refused, rest = {"not": {"regex": f"^(?:{ahead[1]})"}}, regex[ahead.end() :]
    return {"all": [refused, pattern("^" + rest)]} if rest else refused


def address(regex):
    """The start of a URL as conditions on its scheme and host, which is what the program compares."""
    plain = re.fullmatch(r"((?:[a-z0-9:/-]|\\[.])*)(\((?:\?:)?/\|\$\))?", regex)
    if plain is None:
        return {"regex": f"^(?:{regex})"}
    start = plain[1].replace("\\", "")
    return {"is": start} if plain[2] else {"starts": start}


def usd(price):
    """USD with at most nine decimals: the source holds a few sums of binary floats."""
    return f"{price.quantize(NANO).normalize():f}"


def rate(price):
    if not isinstance(price, types.TieredPrices):
        return usd(price)
    return [usd(price.base), *([tier.start, usd(tier.price)] for tier in price.tiers)]


def base(price):
    return price.base if isinstance(price, types.TieredPrices) else price


def row(owner, model, prices, constraint=None, tier=None):
    """One set of prices and when it holds."""
    found = {key: value for key, value in vars(prices).items() if value is not None}
    unknown = found.keys() - RATES.keys() - UNPRICED.keys()
    if unknown:
        sys.exit(f"{model.id}: a price of an unknown kind: {sorted(unknown)}")
    check(model, {key: base(value) for key, value in found.items()})
    entry = {"tier": tier} if tier else {}
    entry |= when(constraint)
    entry["usd"] = {name: rate(found[key]) for key, name in RATES.items() if key in found}
    unpriced = [name for key, (name, _) in UNPRICED.items() if key in found]
    terms = {"least_seconds": 10} if (owner, model.id) in TEN_SECONDS else {}
    return entry | ({"unpriced": unpriced} if unpriced else {}) | ({"terms": terms} if terms else {})


def check(model, found):
    """What the program takes for granted when it calls a sum a lower bound."""
    for key, floor in [*((key, floor) for key, (_, floor) in UNPRICED.items()), *DEARER.items()]:
        if key in found and floor in found and found[key] < found[floor]:
            sys.exit(f"{model.id}: {key} is cheaper than {floor}")
    for less, more in (("cache_write_mtok", "cache_write_1h_mtok"), ("output_reasoning_mtok", "output_mtok")):
        if less in found and more in found and found[less] > found[more]:
            sys.exit(f"{model.id}: {less} is dearer than {more}")
    # Where the split of what was cached is not told: audio gains the most, then pictures, then text.
    gains = [
        found[whole] - found[cached]
        for whole, cached in (
            ("input_audio_mtok", "cache_audio_read_mtok"),
            ("input_image_mtok", "cache_image_read_mtok"),
            ("input_mtok", "cache_read_mtok"),
        )
        if whole in found and cached in found
    ]
    if gains != sorted(gains, reverse=True):
        sys.exit(f"{model.id}: text gains more from the cache than what is seen or heard")


def when(constraint):
    match constraint:
        case None:
            return {}
        case types.StartDateConstraint():
            return {"from": constraint.start_date.isoformat()}
        case types.TimeOfDateConstraint():
            return {"between": [minute(constraint.start_time), minute(constraint.end_time)]}
    sys.exit(f"a constraint of an unknown kind: {constraint}")


def minute(time):
    if time.utcoffset() not in (None, datetime.timedelta()) or time.second or time.microsecond:
        sys.exit(f"not a whole minute of UTC: {time}")
    return f"{time:%H:%M}"


def variants(owner, model):
    for variant in model.price_variants or ():
        (key, value), *more = variant.when.items()
        if key in TIER_KEYS and not more:
            yield row(owner, model, variant.prices, variant.constraint, value.lower())


def entry(owner, model):
    prices = model.prices if isinstance(model.prices, list) else [types.ConditionalPrice(prices=model.prices)]
    rows = [row(owner, model, each.prices, each.constraint) for each in prices]
    found = {"id": model.id, "match": clause(model.match), "prices": rows}
    tiers = list(variants(owner, model))
    return found | ({"tiers": tiers} if tiers else {})


def supplier(provider):
    found = {"id": provider.id, "url": address(provider.api_pattern)}
    if provider.provider_match:
        found["names"] = clause(provider.provider_match)
    if provider.model_match:
        found["makes"] = clause(provider.model_match)
    if provider.fallback_model_providers:
        found["fallback"] = provider.fallback_model_providers
    return found


def written(head):
    """JSON with one model a line, so that a refresh can be read as a diff."""

    def compact(value):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    blocks = []
    for provider in providers:
        models = ",\n".join(compact(entry(provider.id, model)) for model in provider.models)
        blocks.append(f'{compact(supplier(provider))[:-1]},"models":[\n{models}\n]}}')
    return f'{compact(head)[:-1]},"providers":[\n' + ",\n".join(blocks) + "\n]}\n"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--date", default=datetime.datetime.now(datetime.UTC).date().isoformat())
    date = arguments.parse_args().date
    path = pathlib.Path(__file__).with_name("table.json")
    head = {"source": "genai-prices", "version": metadata.version("genai-prices"), "licence": "MIT", "date": date}
    old = path.read_text() if path.exists() else ""
    kept = re.search(r'"date":"(\d{4}-\d\d-\d\d)"', old)
    if kept and written(head | {"date": kept[1]}) == old:
        return print("table.json is up to date")
    path.write_text(written(head))
    models = sum(len(provider.models) for provider in providers)
    print(f"table.json: {len(providers)} providers, {models} models, {path.stat().st_size} bytes, {date}")


if __name__ == "__main__":
    main()
