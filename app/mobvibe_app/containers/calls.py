"""Calls of the docker SDK, with its errors in our words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import requests
import urllib3
from docker.errors import APIError, DockerException, ImageNotFound

from mobvibe_app.containers.failures import EngineUnavailable, missing, refusal, unavailable

GONE = (
    requests.exceptions.ConnectionError,
    requests.exceptions.ReadTimeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.HTTPError,
)
"""What the SDK raises once the engine has gone, also in the middle of an answer."""


@contextlib.contextmanager
def told(address: str, what: str, image: str = "") -> Iterator[None]:
    """The SDK's errors in our words; `what` is a verb and its object, `image` the one that it needs.

    Raises EngineUnavailable, ImageMissing, PortTaken, FolderUnseen or another ServiceError.
    """
    try:
        yield
    except GONE as error:
        raise unavailable(address, str(error)) from error
    except ImageNotFound as error:
        raise missing(image, str(error.explanation or error)) from error
    except APIError as error:
        raise refusal(what, str(error.explanation or error)) from error
    except DockerException as error:
        raise EngineUnavailable(f"Docker failed to {what}: {error}.", "Try again.") from error
