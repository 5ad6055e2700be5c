"""Makes a database refuse some events."""

from __future__ import annotations

from asyncpg import Pool

_REFUSE = """
create sequence refusals;
create function refuse_some() returns trigger language plpgsql as $$
begin
  -- A sequence keeps its value even if the transaction is rolled back.
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
    """Refuse the next `times` events for which `which`, an SQL condition over `new`, is true."""
    await pool.execute(_REFUSE.format(which=which, times=times))
