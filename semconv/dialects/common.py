"""What every span may say, GenAI or not: who sent it, for whom, and how it ended.

Order of preference (docs: where dimensions come from): span attribute, resource attribute, baggage that was copied
to the span (under its own key or with a `baggage.` prefix), API key.
"""

from __future__ import annotations

from spanfold.semconv.dialect import Detect, Dialect, Source

COMMON = Dialect(
    name="common",
    about="dimensions and errors that do not depend on a dialect",
    detect=Detect(),
    labels=False,
    fields={
        "session_id": (Source("session.id"), Source("session_id"), Source("sessionId")),
        "user_id": (Source("user.id"), Source("enduser.id"), Source("user_id"), Source("enduser.pseudo.id")),
        "conversation_id": (Source("gen_ai.conversation.id"), Source("conversation.id")),
        "key_label": (Source("spanfold.key"), Source("llm.key.label")),
        "project": (Source("spanfold.project"), Source("langfuse.project"), Source("openinference.project.name")),
        "environment": (Source("deployment.environment.name"), Source("deployment.environment")),
        "tags": (Source("spanfold.tags"), Source("tag.tags"), Source("langfuse.trace.tags")),
        "error_type": (Source("error.type"), Source("exception.type"), Source("exception.type", event="exception")),
    },
)

RESOURCE_KEYS = {  # column -> keys of the resource, in order
    "session_id": ("session.id",),
    "user_id": ("user.id", "enduser.id"),
    "conversation_id": ("gen_ai.conversation.id",),
    "key_label": ("spanfold.key", "llm.key.label"),
    "project": (
        "spanfold.project",
        "langfuse.project",
        "openinference.project.name",
        "service.namespace",
        "service.name",
    ),
    "environment": ("deployment.environment.name", "deployment.environment"),
    "tags": ("spanfold.tags", "tag.tags", "langfuse.trace.tags"),
    "service_name": ("service.name",),
    "service_version": ("service.version",),
    "agent_name": ("gen_ai.main_agent.name",),
}
