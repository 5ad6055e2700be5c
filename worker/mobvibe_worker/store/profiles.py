"""Profiles: one row for each person who signed up."""

from __future__ import annotations

from mobvibe_worker.errors import NotFound
from mobvibe_worker.jobs import UserId
from mobvibe_worker.store.connection.sql import Source, repeatable
from mobvibe_worker.store.connection.user_view import Person
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


class ProfileStore:
    """Finds people."""

    def __init__(self, source: Source) -> None:
        self._source = source

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
