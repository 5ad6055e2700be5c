"""A database that refuses some events, for tests of what happens then."""

from __future__ import annotations

from asyncpg import Pool

_REFUSE = """
create sequence refusals;
create function refuse_some() returns trigger language plpgsql as $$
begin
  -- What is taken of a sequence stays taken, also by who is refused.
  if {which} and nextval('public.refusals') <= {times} then
    raise exception 'no room for that';
  end if;
  return new;
end
$$;
create trigger refuse_some before insert on public.session_events
  for each row execute function refuse_some();
"""


async def refuse_events(pool: Pool, which: str, *, times: int = 1_000_000) -> None:
    """From now on the first `times` events for which `which` (SQL over `new`) holds end their transaction."""
    await pool.execute(_REFUSE.format(which=which, times=times))
