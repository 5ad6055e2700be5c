-- Drops the policies, revokes the grants, and disables row-level security.

do $$
declare
  one record;
begin
  for one in
    select policyname, tablename from pg_catalog.pg_policies
    where schemaname = 'public' and tablename in (
      'profiles', 'projects', 'coding_sessions', 'coding_jobs', 'session_events', 'project_revisions',
      'project_blobs', 'project_files', 'job_turns', 'preview_containers', 'workers'
    )
  loop
    execute format('drop policy %I on public.%I', one.policyname, one.tablename);
  end loop;

  for one in
    select unnest(array[
      'profiles', 'projects', 'coding_sessions', 'coding_jobs', 'session_events', 'project_revisions',
      'project_blobs', 'project_files', 'job_turns', 'preview_containers', 'workers'
    ]) as tablename
  loop
    execute format('revoke all on public.%I from authenticated, service_role', one.tablename);
    execute format('alter table public.%I disable row level security', one.tablename);
  end loop;
end
$$;
