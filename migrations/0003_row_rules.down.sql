-- Drops the triggers and their functions. The sign-up trigger is dropped by the cascade from its function, because on
-- Supabase another role owns auth.users, and only a table's owner may drop a trigger by name.

drop trigger touch on public.preview_containers;
drop trigger touch on public.coding_sessions;
drop trigger touch on public.projects;
drop trigger touch on public.profiles;
drop trigger limit_reopened on public.coding_sessions;
drop trigger limit_new on public.coding_sessions;
drop trigger immutable_whole on public.session_events;
drop trigger immutable on public.session_events;
drop trigger events_inserted on public.session_events;
drop trigger number on public.session_events;
drop trigger same_project on public.job_turns;
drop trigger same_project on public.project_revisions;
drop trigger fill on public.job_turns;
drop trigger fill on public.project_files;
drop trigger fill on public.project_blobs;
drop trigger fill on public.project_revisions;
drop trigger fill on public.preview_containers;
drop trigger fill on public.coding_sessions;
drop trigger fill on public.projects;
drop function private.limit_sessions();
drop function private.refuse_change();
drop function private.events_inserted();
drop function private.number_event();
drop function private.require_job_of_project();
drop function private.fill_from_project();
drop function private.fill_from_session();
drop function private.fill_project();
drop function private.slug_from(text);
drop function public.handle_new_user() cascade;
drop function private.shown_name(jsonb, text);
