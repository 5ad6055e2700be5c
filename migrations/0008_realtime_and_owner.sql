-- The tables that Supabase Realtime publishes, and the local owner: the person at this machine, without a limit.

do $$
declare
  wanted text;
begin
  if not exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
    create publication supabase_realtime;
    comment on publication supabase_realtime is 'mobvibe-shim';
  end if;
  foreach wanted in array array['coding_jobs', 'session_events'] loop
    if not exists (
      select from pg_catalog.pg_publication_tables
      where pubname = 'supabase_realtime' and schemaname = 'public' and tablename = wanted
    ) then
      execute format('alter publication supabase_realtime add table public.%I', wanted);
    end if;
  end loop;
end
$$;

insert into auth.users (id, email)
values ('00000000-0000-4000-8000-000000000001', 'local@mobvibe.invalid')
on conflict (id) do nothing;

-- Profiles of users that signed up before these tables existed; of several with the same email, the first gets it.
insert into public.profiles (id, email, display_name)
select u.id, nullif(u.email, ''), private.shown_name(u.raw_user_meta_data, u.email)
from auth.users u order by u.created_at, u.id
on conflict do nothing;
insert into public.profiles (id, display_name)
select u.id, private.shown_name(u.raw_user_meta_data, u.email) from auth.users u
on conflict (id) do nothing;

update public.profiles set tier = 'local', sessions_limit = null
where id = '00000000-0000-4000-8000-000000000001';
