"""The prepared SDKs that these tests share."""

from __future__ import annotations

from support.expo import expo_sdk as expo_sdk
