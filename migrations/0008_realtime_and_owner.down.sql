-- Removes our tables from the publication (or drops it, if 0008 created it), and deletes the local owner with all their
-- rows.

delete from auth.users where id = '00000000-0000-4000-8000-000000000001';

do $$
declare
  listed text;
begin
  if exists (
    select from pg_catalog.pg_publication
    where pubname = 'supabase_realtime'
      and pg_catalog.obj_description(oid, 'pg_publication') = 'mobvibe-shim'
  ) then
    drop publication supabase_realtime;
    return;
  end if;
  -- A publication for all tables lists none, and it may have been dropped since.
  for listed in
    select r.prrelid::regclass::text
    from pg_catalog.pg_publication p join pg_catalog.pg_publication_rel r on r.prpubid = p.oid
    where p.pubname = 'supabase_realtime'
      and r.prrelid in (to_regclass('public.coding_jobs'), to_regclass('public.session_events'))
  loop
    execute 'alter publication supabase_realtime drop table ' || listed;
  end loop;
end
$$;
