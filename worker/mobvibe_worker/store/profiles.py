"""Profiles: one row for each person who signed up."""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from mobvibe_worker.errors import NotFound
from mobvibe_worker.jobs import UserId
from mobvibe_worker.store.connection.execute import Source, once, repeatable
from mobvibe_worker.store.connection.rows import ProfilesRow, ProfilesUpdate
from mobvibe_worker.store.connection.table import Page
from mobvibe_worker.store.connection.user_view import Person
from mobvibe_worker.store.rules import (
    DISPLAY_NAME_LIMIT,
    SESSIONS_LIMIT,
    ProfileChanges,
    Tier,
    checked,
    given,
)
from mobvibe_worker.store.tables import PROFILES

BY_EMAIL = f"""
select {PROFILES.columns("p")}
from public.profiles p
where lower(p.email) = lower($1) and p.deleted_at is null
order by p.created_at, p.id limit 1
"""
# The profile of a second sign-up with the same email has no email.
BY_SIGN_UP = f"""
select {PROFILES.columns("p")}
from auth.users u join public.profiles p on p.id = u.id
where lower(u.email) = lower($1) and p.deleted_at is null
order by u.created_at, u.id limit 1
"""


@dataclass(frozen=True, slots=True)
class Profile:
    """One person. `sessions_limit` is None without a limit, `deleted_at` is None unless deleted."""

    id: UserId
    email: str | None
    display_name: str
    tier: Tier
    sessions_limit: int | None
    created_at: datetime
    deleted_at: datetime | None


class ProfileStore:
    """Finds and changes people. Deleting keeps all their rows, so they can be restored."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def create(self, email: str, display_name: str = "") -> Profile:
        """Sign a person up, as the platform's own sign-up does. Raises Conflict for a taken email."""
        checked(display_name, "display name", DISPLAY_NAME_LIMIT, least=0)
        user_id = UserId(uuid4())
        await once(
            self._source,
            "insert into auth.users (id, email, raw_user_meta_data) values ($1, $2, $3)",
            user_id,
            email,
            given(display_name=display_name or None),
        )
        return await self.get(user_id)

    async def get(self, user_id: UserId) -> Profile:
        """One person, even if deleted. Raises NotFound."""
        return _profile(_found(await PROFILES.find(self._source, "id = $1", user_id), user_id))

    async def person(self, email: str) -> Person:
        """The person with this email, ignoring case, for `--as`. Raises NotFound."""
        rows = PROFILES.read(await repeatable(self._source, BY_EMAIL, email.strip()))
        if not rows:
            rows = PROFILES.read(await repeatable(self._source, BY_SIGN_UP, email.strip()))
        if not rows:
            raise NotFound(
                f"No person has the email {email.strip()!r}.",
                "`mobvibe-tui db seed` adds example people; auth.users lists everyone.",
            )
        return Person(UserId(rows[0].id), rows[0].email or email.strip())

    async def update(self, user_id: UserId, changes: ProfileChanges) -> Profile:
        """Change a person's name or tier. Raises NotFound, Denied."""
        values: ProfilesUpdate = {}
        if changes.display_name is not None:
            values["display_name"] = changes.display_name
        if changes.tier is not None:
            values["tier"] = changes.tier
            values["sessions_limit"] = SESSIONS_LIMIT[changes.tier]
        return await self._changed(user_id, values)

    async def delete(self, user_id: UserId) -> Profile:
        """Mark a person as deleted. Raises NotFound."""
        sql = (
            "update public.profiles set deleted_at = coalesce(deleted_at, now())"
            f" where id = $1 returning {PROFILES.columns()}"
        )
        rows = PROFILES.read(await repeatable(self._source, sql, user_id))
        return _profile(_found(rows, user_id))

    async def restore(self, user_id: UserId) -> Profile:
        """Undo a deletion. Raises NotFound."""
        return await self._changed(user_id, {"deleted_at": None})

    async def list(self, *, cursor: str | None = None, limit: int = 50) -> Page[Profile]:
        """People who are not deleted, the newest first."""
        page = await PROFILES.page(
            self._source, "deleted_at is null", [], cursor=cursor, limit=limit
        )
        return Page(tuple(map(_profile, page.items)), page.cursor)

    async def _changed(self, user_id: UserId, values: ProfilesUpdate) -> Profile:
        row = await PROFILES.update(self._source, user_id, values)
        return _profile(_found([row] if row else [], user_id))


def _found(rows: builtins.list[ProfilesRow], user_id: UserId) -> ProfilesRow:
    if not rows:
        raise NotFound(f"There is no profile {user_id}.")
    return rows[0]


def _profile(row: ProfilesRow) -> Profile:
    return Profile(
        id=UserId(row.id),
        email=row.email,
        display_name=row.display_name,
        tier=row.tier,
        sessions_limit=row.sessions_limit,
        created_at=row.created_at,
        deleted_at=row.deleted_at,
    )
