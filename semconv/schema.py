"""The stored shape: one Arrow schema a table, versioned; the only place where a stored column is declared.

Every Parquet file carries `spanfold.schema_version` in its metadata. A column may be added within a version (readers
fill NULL); a changed meaning is a new version with a reader of its own. The partition key `date` (UTC day of the
span's own start) stands in the path, `lake/<table>/gen=<n>/date=YYYY-MM-DD/*.parquet`, not in the file.

Ids of traces and spans are lower-case hex text, so that plain SQL can join them; ids that Spanfold makes (messages,
contents, threads, blocks) are 16 raw bytes, because they are many and joined by the shipped views only.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

SCHEMA_VERSION = 1

_TEXT = pa.string()
_ID = pa.binary(16)
_INT = pa.int64()
_TIME = pa.timestamp("us")
_TEXTS = pa.list_(pa.field("element", pa.string()))
_IDS = pa.list_(pa.field("element", _ID))

USAGE_COLUMNS = (
    "input_tokens",  # total as the newest conventions define it: includes cache reads and writes
    "output_tokens",  # total: includes reasoning
    "uncached_input_tokens",  # from here on disjoint buckets; unknown is NULL, never 0
    "cache_read_tokens",
    "cache_write_tokens",  # 5 minute writes (or of unknown lifetime)
    "cache_write_1h_tokens",
    "audio_input_tokens",
    "image_input_tokens",
    "text_output_tokens",
    "reasoning_tokens",
    "audio_output_tokens",
)
COUNT_COLUMNS = (*USAGE_COLUMNS, "web_searches")  # all that is billed by count: searches that the provider ran, too

_ORIGIN = [  # who sent it: the dimensions shared by spans, logs and metrics
    ("tenant", _TEXT),
    ("service_name", _TEXT),
    ("service_version", _TEXT),
    ("environment", _TEXT),
    ("project", _TEXT),
    ("key_label", _TEXT),
    ("scope_name", _TEXT),
    ("scope_version", _TEXT),
    ("scope_attributes", _TEXT),  # JSON object or NULL
    ("resource", _TEXT),  # JSON object: resource attributes by key
    ("resource_schema_url", _TEXT),
    ("scope_schema_url", _TEXT),
    ("received_time", _TIME),  # when the request was accepted
]

_PRIVATE = [  # where the encrypted rest of this row lies (a JSON object in a content block), NULL if there is none
    ("private_block", _ID),
    ("private_offset", pa.int32()),
    ("private_length", pa.int32()),
]

SPANS = pa.schema(
    [
        ("trace_id", _TEXT),
        ("span_id", _TEXT),
        ("parent_span_id", _TEXT),  # NULL = root
        ("name", _TEXT),
        ("kind", _TEXT),  # internal | server | client | producer | consumer | unspecified
        ("start_time", _TIME),
        ("start_nanos", pa.uint16()),  # 0..999, what microseconds cannot hold
        ("duration_ns", _INT),  # end - start; negative when the sender's clock ran backwards
        ("status", _TEXT),  # success | error | canceled
        ("status_code", pa.uint8()),  # OTel: 0 unset, 1 ok, 2 error
        ("error_type", _TEXT),
        *_ORIGIN,
        ("session_id", _TEXT),
        ("conversation_id", _TEXT),  # as stated by the sender, never made up
        ("user_id", _TEXT),
        ("tags", _TEXTS),
        ("dialect", _TEXT),  # NULL = not a GenAI span
        ("operation", _TEXT),  # gen_ai.operation.name vocabulary, unknown values kept; NULL = not a GenAI span
        ("provider", _TEXT),
        ("request_model", _TEXT),
        ("response_model", _TEXT),
        ("response_id", _TEXT),
        ("agent_name", _TEXT),
        ("tool_name", _TEXT),
        ("tool_call_id", _TEXT),
        ("is_candidate", pa.bool_()),  # may be a call: inference or embeddings leaf, or a container that carries usage
        ("is_container", pa.bool_()),  # agent, workflow, gateway: a call only while no descendant carries usage
        *[(name, _INT) for name in COUNT_COLUMNS],
        (
            "usage_verdict",
            _TEXT,
        ),  # stated | known_emitter | proven | assumed; ":inclusive" or ":exclusive"; NULL = no usage
        ("estimated_output_tokens", _INT),  # streaming without usage: characters / 4; NULL elsewhere
        ("service_tier", _TEXT),  # standard | batch | flex | priority | as sent
        ("streaming", pa.bool_()),
        ("ttft_ms", pa.float64()),
        ("finish_reasons", _TEXTS),
        ("prompt_fingerprint", _TEXT),
        ("prompt_name", _TEXT),
        ("prompt_version", _TEXT),
        ("truncated", pa.bool_()),  # the SDK's attribute cap cut this span
        ("promoted", pa.uint64()),  # bit i set: attribute PROMOTED[i].key stands in its column instead of `attributes`
        ("attributes", _TEXT),  # JSON object: the other attributes that are not private; NULL = none
        (
            "attributes_typed",
            _TEXT,
        ),  # OTLP JSON of the keys that plain JSON cannot hold (bytes, NaN, unset); NULL = none
        ("events", _TEXT),  # JSON array of {name, time_unix_nano, attributes, dropped_attributes_count}
        ("links", _TEXT),  # JSON array of {trace_id, span_id, trace_state, attributes, flags}
        ("trace_state", _TEXT),
        ("flags", pa.uint32()),
        ("dropped_attributes", pa.uint32()),
        ("dropped_events", pa.uint32()),
        ("dropped_links", pa.uint32()),
        *_PRIVATE,  # see keep.Kept: {"error_message", "status_message", "attributes": {...}, "events": [...], ...}
    ]
)

CONTEXTS = pa.schema(
    [
        ("tenant", _TEXT),
        ("trace_id", _TEXT),
        ("span_id", _TEXT),
        ("direction", _TEXT),  # input | output
        ("source", _TEXT),  # span | span_event | log | turn (recorded beside the calls of a turn, given to this one)
        # | rebuilt (an attribute cap took its beginning, an earlier call proves it)
        # | delta (the span said only what was new, its ancestors said the rest) | delta_cut (an ancestor is missing)
        ("revision", pa.int32()),  # highest wins; grows with the pieces found
        ("start_time", _TIME),  # of the span (of its log records while the span is unknown)
        ("tools_id", _ID),  # message_id of the row with role `tools`; input only
        ("system_id", _ID),  # message_id of the row with role `system`; input only
        ("head", _ID),  # message_id of the last message; NULL = no message
        ("anchors", _IDS),  # message_ids at depth 15, 31, 47 ... of the path to the head: unfold without recursion
        ("first", pa.int32()),  # depth of the first message of this context: 0, or the input's length for an output
        ("count", pa.int32()),  # messages in this context
        ("thread_id", _ID),
        ("answer_key", _ID),  # output: match_id of the answer; input: that of the last assistant message it holds
        ("answer_gram", _ID),  # the same over the last messages only: survives a cut or summarised history
        ("answer_position", pa.int32()),  # input: position of that assistant message; NULL = none
        ("chars", _INT),  # characters of the whole context as sent
    ]
)

MESSAGES = pa.schema(
    [
        ("tenant", _TEXT),
        ("message_id", _ID),
        ("parent_id", _ID),  # NULL for a root, and where it is the last of `path`
        ("content_id", _ID),
        ("match_id", _ID),  # NULL where it equals message_id
        ("thread_id", _ID),
        ("depth", pa.int32()),  # 0 = first message; -1 = tools or system text
        ("path", _IDS),  # ancestors since the last depth that is a multiple of 16, oldest first, without itself
        ("role", _TEXT),  # system | user | assistant | tool | tools | as sent
        ("tool_name", _TEXT),  # the tools that this message asks for or answers for, joined by ", "; NULL = none
        ("tool_key", _ID),  # the same tools asked with the same arguments have the same key, whatever the call ids
        ("chars", pa.int32()),
        ("redactions", pa.int32()),
        ("first_seen", _TIME),  # start of the first span that held it
        ("block_id", _ID),  # NULL: the words lie where another row of the same content_id and day says
        ("offset", pa.int32()),
        ("length", pa.int32()),
    ]
)

CONTENT = pa.schema(
    [
        ("tenant", _TEXT),
        ("block_id", _ID),
        ("items", pa.int32()),
        ("raw_length", pa.int32()),
        ("ids_hash", _ID),  # part of the AAD: hash of the content ids inside, in order
        ("ct", pa.binary()),  # version | key id | nonce | AES-256-GCM(zstd(bytes)); or plain zstd by explicit choice
    ]
)

LOGS = pa.schema(
    [
        ("trace_id", _TEXT),
        ("span_id", _TEXT),
        ("time", _TIME),  # where the sender gave none: the observed time
        ("time_nanos", pa.uint16()),  # 0..999, what microseconds cannot hold
        ("observed_time", _TIME),
        ("observed_nanos", pa.uint16()),
        ("severity_number", pa.int32()),
        ("severity_text", _TEXT),
        ("event_name", _TEXT),
        *_ORIGIN,
        ("session_id", _TEXT),
        ("user_id", _TEXT),
        ("attributes", _TEXT),  # JSON object: non-content attributes
        ("attributes_typed", _TEXT),
        ("flags", pa.uint32()),
        ("dropped_attributes", pa.uint32()),
        ("log_id", _ID),  # keyed hash of the record: a resent record is stored once
        *_PRIVATE,  # {"body", "attributes": {...}}
    ]
)

METRICS = pa.schema(
    [
        ("name", _TEXT),
        ("description", _TEXT),
        ("unit", _TEXT),
        ("type", _TEXT),  # gauge | sum | histogram | exponential_histogram | summary
        ("temporality", _TEXT),  # delta | cumulative | NULL
        ("monotonic", pa.bool_()),
        ("start_time", _TIME),
        ("time", _TIME),
        ("value", pa.float64()),
        ("value_int", _INT),  # the same where the sender gave an integer
        ("count", _INT),
        ("sum", pa.float64()),
        ("min", pa.float64()),
        ("max", pa.float64()),
        (
            "buckets",
            _TEXT,
        ),  # JSON: explicit {bounds, counts}, exponential {scale, zero_count, positive, negative} or quantiles
        ("exemplars", _TEXT),  # JSON array of {value, time_unix_nano, trace_id, span_id, attributes}
        ("metadata", _TEXT),  # JSON object or NULL
        *_ORIGIN,
        ("session_id", _TEXT),
        ("user_id", _TEXT),
        ("attributes", _TEXT),
        ("attributes_typed", _TEXT),
        ("flags", pa.uint32()),
        ("point_id", _ID),  # hash of the point: a resent point is stored once
        *_PRIVATE,  # {"attributes": {...}, "exemplars": [...]}
    ]
)

SUPPRESSED = pa.schema(
    [
        ("tenant", _TEXT),
        ("trace_id", _TEXT),
        ("span_id", _TEXT),
        ("revision", _INT),  # manifest version that wrote it; highest wins
        ("reason", _TEXT),  # container | twin | mirror; NULL = not suppressed (any more)
        ("merged_into", _TEXT),  # span_id of the call that stands for it
        ("fills", _TEXT),  # JSON: column -> value that this call takes from its twins where its own is NULL
    ]
)

FACT_COLUMNS = (  # of SPANS: what a call may take from another span or from a log record that tells of it
    "request_model", "response_model", "response_id", "provider", "session_id", "conversation_id", "user_id",
    "agent_name", "ttft_ms", "streaming", "service_tier", "prompt_name", "prompt_version", "prompt_fingerprint",
    "finish_reasons", "usage_verdict", *COUNT_COLUMNS,
)  # fmt: skip

FACTS = pa.schema(  # what log records state of the call that they are about
    [
        ("tenant", _TEXT),
        ("trace_id", _TEXT),
        ("span_id", _TEXT),  # where it was recorded: the call, or a span around it
        ("fact_id", _TEXT),  # the record, or `content` for what follows from content in log records
        ("revision", _INT),  # highest wins
        ("time", _TIME),
        ("service_name", _TEXT),
        ("scope_name", _TEXT),
        *[(name, SPANS.field(name).type) for name in FACT_COLUMNS],
    ]
)

LINKS = pa.schema(
    [
        ("tenant", _TEXT),
        ("trace_id", _TEXT),
        ("span_id", _TEXT),
        ("revision", _INT),
        ("continues_trace_id", _TEXT),
        ("continues_span_id", _TEXT),
        ("root", _TEXT),  # conversation: stated id, or trace_id/span_id of the call that began it
        ("shared_messages", pa.int32()),  # leading input messages that the continued call had seen or said
    ]
)

LATENCY_BUCKETS = 40  # bucket i counts durations in [2^(i/2), 2^((i+1)/2)) ms; the first also what is shorter

ROLLUP = pa.schema(
    [
        ("hour", _TIME),
        ("tenant", _TEXT),
        ("project", _TEXT),
        ("service_name", _TEXT),
        ("environment", _TEXT),
        ("provider", _TEXT),
        ("model", _TEXT),  # response model, else request model
        ("operation", _TEXT),
        ("key_label", _TEXT),
        ("calls", _INT),
        ("errors", _INT),
        ("canceled", _INT),
        *[(name, _INT) for name in USAGE_COLUMNS],
        *[(f"known_{name}", _INT) for name in ("input_tokens", "output_tokens")],  # calls that reported it, or failed
        ("cost", pa.decimal128(38, 12)),  # exact, so that deltas and a rebuild agree to the last digit
        ("priced_calls", _INT),
        ("unpriced_calls", _INT),
        ("duration_ms", pa.float64()),  # sum
        *[(f"latency_{i}", _INT) for i in range(LATENCY_BUCKETS)],
    ]
)

REDACTIONS = pa.schema([("tenant", _TEXT), ("rule", _TEXT), ("service_name", _TEXT), ("place", _TEXT), ("count", _INT)])

QUALITY = pa.schema(  # what could not be taken as sent: counted, with one example to look at
    [
        ("tenant", _TEXT),
        ("service_name", _TEXT),
        ("scope_name", _TEXT),
        (
            "kind",
            _TEXT,
        ),  # duplicate_span | changed_duplicate | skewed_time | truncated | usage_disagrees | bad_json | ...
        ("detail", _TEXT),  # attribute key or rule, never content
        ("count", _INT),
        ("example_trace_id", _TEXT),
        ("example_span_id", _TEXT),
        ("first_seen", _TIME),
    ]
)

TABLES: dict[str, pa.Schema] = {
    "spans": SPANS,
    "contexts": CONTEXTS,
    "messages": MESSAGES,
    "content": CONTENT,
    "logs": LOGS,
    "metrics": METRICS,
    "facts": FACTS,
    "suppressed": SUPPRESSED,
    "links": LINKS,
    "rollup": ROLLUP,
    "redactions": REDACTIONS,
    "quality": QUALITY,
}


@dataclass(frozen=True, slots=True)
class Promoted:
    """An attribute that is not stored twice: while its value equals the column, the column stands for it."""

    key: str
    column: str
    kind: str  # string | int | bool | strings


PROMOTED: tuple[Promoted, ...] = (  # append only: the position is the bit in `spans.promoted`
    Promoted("gen_ai.operation.name", "operation", "string"),
    Promoted("gen_ai.provider.name", "provider", "string"),
    Promoted("gen_ai.request.model", "request_model", "string"),
    Promoted("gen_ai.response.model", "response_model", "string"),
    Promoted("gen_ai.response.id", "response_id", "string"),
    Promoted("gen_ai.agent.name", "agent_name", "string"),
    Promoted("gen_ai.tool.name", "tool_name", "string"),
    Promoted("gen_ai.tool.call.id", "tool_call_id", "string"),
    Promoted("gen_ai.conversation.id", "conversation_id", "string"),
    Promoted("session.id", "session_id", "string"),
    Promoted("user.id", "user_id", "string"),
    Promoted("error.type", "error_type", "string"),
    Promoted("gen_ai.usage.input_tokens", "input_tokens", "int"),
    Promoted("gen_ai.usage.output_tokens", "output_tokens", "int"),
    Promoted("gen_ai.usage.cache_read.input_tokens", "cache_read_tokens", "int"),
    Promoted("gen_ai.usage.cache_write.input_tokens", "cache_write_tokens", "int"),
    Promoted("gen_ai.usage.cache_creation.input_tokens", "cache_write_tokens", "int"),
    Promoted("gen_ai.usage.reasoning.output_tokens", "reasoning_tokens", "int"),
    Promoted("gen_ai.request.stream", "streaming", "bool"),
    Promoted("gen_ai.response.finish_reasons", "finish_reasons", "strings"),
    Promoted("gen_ai.prompt.name", "prompt_name", "string"),
    Promoted("gen_ai.prompt.version", "prompt_version", "string"),
    Promoted("gen_ai.system", "provider", "string"),
    Promoted("gen_ai.usage.prompt_tokens", "input_tokens", "int"),
    Promoted("gen_ai.usage.completion_tokens", "output_tokens", "int"),
    Promoted("llm.token_count.prompt", "input_tokens", "int"),
    Promoted("llm.token_count.completion", "output_tokens", "int"),
    Promoted("llm.model_name", "response_model", "string"),
    Promoted("openai.response.service_tier", "service_tier", "string"),
)
