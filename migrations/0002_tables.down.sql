-- Drops every table; those that reference others come first.

drop table public.workers;
drop table public.preview_containers;
drop table public.job_turns;
drop table public.project_files;
drop table public.project_blobs;
alter table public.projects drop constraint projects_head_revision_fkey;
drop table public.project_revisions;
drop table public.session_events;
drop table public.coding_jobs;
drop table public.coding_sessions;
drop table public.projects;
drop table public.profiles;
