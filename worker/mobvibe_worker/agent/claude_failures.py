"""Translates the SDK's errors into AgentErrors."""

from __future__ import annotations

import json

import anthropic
import httpx2

from mobvibe_worker.agent.model import BrokenTurn
from mobvibe_worker.errors import AgentError, ModelRejected
from mobvibe_worker.sanitize import clean_text

STREAM_FAILURES: tuple[type[Exception], ...] = (
    anthropic.AnthropicError,
    httpx2.TransportError,
    json.JSONDecodeError,
    ValueError,
    AssertionError,
)
"""Everything the SDK raises for a broken answer; it has no exception class of its own for the last three."""

_TRANSIENT_TYPES = frozenset({"overloaded_error", "api_error", "timeout_error", "rate_limit_error"})
_TRANSIENT_CODES = frozenset({408, 409, 429})
_REASON_LIMIT = 300


def failure_of(error: Exception, *, has_begun: bool, model: str) -> AgentError:
    """BrokenTurn if another try may help, otherwise ModelRejected."""
    if isinstance(error, anthropic.APIStatusError):
        return _status_failure(error, has_begun=has_begun, model=model)
    if isinstance(error, (anthropic.APITimeoutError, httpx2.TimeoutException)):
        return BrokenTurn("The model's server did not answer in time.", has_begun=has_begun)
    if isinstance(error, (anthropic.APIConnectionError, httpx2.ConnectError)):
        return BrokenTurn("The model's server cannot be reached.", has_begun=has_begun)
    if isinstance(error, httpx2.TransportError):
        return BrokenTurn("The connection to the model broke off.", has_begun=has_begun)
    if isinstance(error, (ValueError, AssertionError)):
        return BrokenTurn("The model's server sent something unreadable.", has_begun=has_begun)
    return ModelRejected(f"The model's server could not be used: {_short(str(error))}.")


def _status_failure(error: anthropic.APIStatusError, *, has_begun: bool, model: str) -> AgentError:
    is_transient = error.type in _TRANSIENT_TYPES or (
        error.status_code in _TRANSIENT_CODES or error.status_code >= 500
    )
    if is_transient:
        return BrokenTurn(
            _transient_sentence(error), has_begun=has_begun, retry_after=_retry_after(error)
        )
    return _rejection(error, model)


def _transient_sentence(error: anthropic.APIStatusError) -> str:
    if error.status_code == 429 or error.type == "rate_limit_error":
        return "The model's server limits how often it may be asked."
    if error.status_code == 529 or error.type == "overloaded_error":
        return "The model's server is overloaded."
    return f"The model's server failed (status {error.status_code})."


def _rejection(error: anthropic.APIStatusError, model: str) -> ModelRejected:
    match error.status_code:
        case 401 | 403:
            return ModelRejected(
                "The model's server did not accept the key.", "Check ANTHROPIC_API_KEY."
            )
        case 402:
            return ModelRejected(
                "The model's account has no credit left.", "Top it up, then retry the job."
            )
        case 404:
            return ModelRejected(
                f"The model's server does not know {model}.",
                "Choose another with MOBVIBE_MODEL, or check ANTHROPIC_BASE_URL.",
            )
        case status:
            reason = _short(error.api_message or f"status {status}")
            return ModelRejected(f"The model's server did not accept the request: {reason}")


def _retry_after(error: anthropic.APIStatusError) -> float | None:
    """Seconds that the server asks to wait; None if the header is missing or invalid."""
    for header, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = error.response.headers.get(header)
        if value is not None:
            try:
                seconds = float(value) * unit
            except ValueError:
                continue
            if 0 <= seconds < float("inf"):
                return seconds
    return None


def may_reject_extras(error: Exception) -> bool:
    """Whether the server may have rejected the request for fields that only Claude's own servers know."""
    return isinstance(error, anthropic.APIStatusError) and error.status_code in {400, 404, 422}


def _short(text: str) -> str:
    return clean_text(text).replace("\n", " ")[:_REASON_LIMIT].strip()
