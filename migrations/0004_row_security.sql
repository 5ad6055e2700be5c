-- Who may see and change what: row-level security on every table, based on the caller's auth.uid().
--
-- Supabase grants everything to its API roles by default, so everything is revoked first, and exactly the needed verbs
-- (and columns) are granted again. `(select auth.uid())` is evaluated once per query, not once per row. Only the service
-- role writes jobs, events, revisions and spend; people read their own. The service role has separate policies, because
-- not every provider lets a role bypass row-level security. Row-level security is not forced on the tables' owner, as
-- the program itself connects as the owner, and must work with providers that give no role `bypassrls`.
-- No person can raise their own tier or limit, move a head or change a session's event counter, because these columns
-- are not granted.

do $$
declare
  name text;
begin
  foreach name in array array[
    'profiles', 'projects', 'coding_sessions', 'coding_jobs', 'session_events', 'project_revisions',
    'project_blobs', 'project_files', 'job_turns', 'preview_containers', 'workers'
  ] loop
    execute format('alter table public.%I enable row level security', name);
    execute format('revoke all on public.%I from public, anon, authenticated, service_role', name);
    execute format(
      'grant select, insert%s on public.%I to service_role',
      case name when 'session_events' then '' else ', update, delete' end, name
    );
    execute format(
      'create policy service_all on public.%I for all to service_role using (true) with check (true)',
      name
    );
  end loop;

  foreach name in array array[
    'coding_jobs', 'session_events', 'project_revisions', 'project_blobs', 'project_files', 'job_turns',
    'preview_containers'
  ] loop
    execute format('grant select on public.%I to authenticated', name);
    execute format(
      'create policy own_rows_select on public.%I for select to authenticated '
      'using (user_id = (select auth.uid()))', name
    );
  end loop;
end
$$;

grant select, update (display_name) on public.profiles to authenticated;
create policy own_row_select on public.profiles for select to authenticated
  using (id = (select auth.uid()));
create policy own_row_update on public.profiles for update to authenticated
  using (id = (select auth.uid())) with check (id = (select auth.uid()));

grant
  select,
  delete,
  insert (id, user_id, name, slug, description, template_id, expo_config, status),
  update (name, slug, description, template_id, expo_config, status)
on public.projects to authenticated;
create policy own_rows_select on public.projects for select to authenticated
  using (user_id = (select auth.uid()));
create policy own_rows_insert on public.projects for insert to authenticated
  with check (user_id = (select auth.uid()));
create policy own_rows_update on public.projects for update to authenticated
  using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
create policy own_rows_delete on public.projects for delete to authenticated
  using (user_id = (select auth.uid()));

grant
  select,
  insert (id, user_id, project_id, initial_prompt, status, platform, expires_at, metadata),
  update (initial_prompt, status, platform, expires_at, metadata)
on public.coding_sessions to authenticated;
create policy own_rows_select on public.coding_sessions for select to authenticated
  using (user_id = (select auth.uid()));
create policy own_rows_insert on public.coding_sessions for insert to authenticated
  with check (
    user_id = (select auth.uid())
    and exists (
      select from public.projects p where p.id = project_id and p.user_id = (select auth.uid())
    )
  );
create policy own_rows_update on public.coding_sessions for update to authenticated
  using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
