-- The tables, their keys and their indexes.
--
-- Every row of a tenant names its user, and foreign keys between a tenant's rows are composite: foreign keys are
-- checked without row-level security, so a single-column key would let one person attach rows to another's project.
-- The queue (coding_jobs) stores its project and user beside the session, filled by triggers. `is_head` marks the one
-- job of a project that is next or running, so that "one at a time, in order" costs an index look-up and is
-- guaranteed by a unique index. `attempt` grows with every claim and fences off the previous holder of the job.
-- Every foreign key has an index that begins with its columns in the same order; one on (user_id, project_id) serves
-- both the key and the policy. Indexes of the queue are partial, so finished jobs are only in those of the history.

create table public.profiles (
  id uuid primary key references auth.users (id) on delete cascade,
  email text unique,
  display_name text not null default '' check (length(display_name) <= 100),
  tier text not null default 'free' check (tier in ('free', 'pro', 'team', 'local')),
  sessions_limit integer default 3 check (sessions_limit >= 0),
  stripe_customer_id text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  deleted_at timestamptz
);
comment on column public.profiles.sessions_limit is 'How many sessions may be open at once; null means no limit.';
create index profiles_email_lower_idx on public.profiles (lower(email));
create index profiles_tier_idx on public.profiles (tier);
create index profiles_created_at_idx on public.profiles (created_at);

create table public.projects (
  id uuid primary key default private.uuid7(),
  user_id uuid not null default auth.uid() references public.profiles (id) on delete cascade,
  name text not null check (length(btrim(name)) between 1 and 200),
  slug text not null check (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and length(slug) <= 63),
  description text,
  template_id text,
  expo_config jsonb not null default '{"sdk": 54}' check (jsonb_typeof(expo_config) = 'object'),
  sandbox_id text,
  status text not null default 'active' check (status in ('active', 'archived', 'deleted')),
  head_revision_id uuid,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (id, user_id)
);
create unique index projects_slug_key on public.projects (user_id, slug) where status <> 'deleted';
create index projects_user_id_idx on public.projects (user_id);
create index projects_status_idx on public.projects (status);
create index projects_created_at_idx on public.projects (created_at desc);

create table public.coding_sessions (
  id uuid primary key default private.uuid7(),
  user_id uuid not null,
  project_id uuid not null,
  initial_prompt text,
  status text not null default 'pending'
    check (status in ('pending', 'active', 'paused', 'completed', 'failed', 'expired')),
  platform text not null default 'web' check (platform in ('web', 'mobile')),
  metro_url text,
  container_id text,
  eas_update_url text,
  webview_url text,
  expires_at timestamptz not null default now() + interval '24 hours',
  last_seq bigint not null default 0 check (last_seq >= 0),
  metadata jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  foreign key (project_id, user_id) references public.projects (id, user_id) on delete cascade,
  unique (id, user_id),
  unique (id, project_id, user_id)
) with (fillfactor = 70);
comment on column public.coding_sessions.last_seq is 'The seq of the session''s newest event.';
create index coding_sessions_user_id_idx on public.coding_sessions (user_id);
create index coding_sessions_project_id_idx on public.coding_sessions (project_id, user_id);
create index coding_sessions_status_idx on public.coding_sessions (status);
create index coding_sessions_expires_at_idx on public.coding_sessions (expires_at);
-- For expire_sessions, which uses starts_with as well, so that reads of one person's sessions never choose this index.
create index coding_sessions_open_idx on public.coding_sessions (expires_at)
  where starts_with(status, 'pending') or starts_with(status, 'active') or starts_with(status, 'paused');
create index coding_sessions_platform_idx on public.coding_sessions (platform);
create index coding_sessions_container_id_idx on public.coding_sessions (container_id);

create table public.coding_jobs (
  id uuid primary key with (deduplicate_items = off) default private.uuid7(),
  session_id uuid not null,
  project_id uuid not null,
  user_id uuid not null,
  prompt text not null check (prompt ~ '\S' and length(prompt) <= 20000),
  status text not null default 'pending'
    check (status in ('pending', 'processing', 'completed', 'failed', 'cancelled')),
  priority integer not null default 0,
  retry_count integer not null default 0 check (retry_count >= 0),
  max_retries integer not null default 3 check (max_retries >= 1),
  attempt integer not null default 0 check (attempt >= 0),
  run_at timestamptz,
  is_head boolean not null default false,
  worker text,
  lease_expires_at timestamptz,
  cancel_requested boolean not null default false,
  idempotency_key text,
  recording text,
  budget_usd numeric(12, 6) check (budget_usd > 0),
  error text,
  result jsonb,
  started_at timestamptz,
  completed_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default now(),
  foreign key (session_id, project_id, user_id)
    references public.coding_sessions (id, project_id, user_id) on delete cascade,
  unique (user_id, id) with (deduplicate_items = off),
  constraint coding_jobs_running_is_head check (
    status <> 'processing' or (is_head and worker is not null and lease_expires_at is not null)
  ),
  constraint coding_jobs_head_is_live check (not is_head or status in ('pending', 'processing'))
) with (
  fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0
);
-- Calls the server's function directly if it has one, as the queue creates thousands of rows a second.
do $$
begin
  if to_regprocedure('pg_catalog.uuidv7()') is not null then
    alter table public.coding_jobs alter column id set default uuidv7();
  end if;
end
$$;
comment on column public.coding_jobs.max_retries is 'The most attempts in total; a lost worker counts as one.';
comment on column public.coding_jobs.run_at is 'The earliest start; null means as soon as it is the job''s turn.';
comment on column public.coding_jobs.attempt is 'Grows with every claim: the fencing token of every write.';
-- Deduplication is off in indexes whose keys are unique and that every claim and completion updates: looking for
-- duplicates among old row versions would be a tenth of the cost.
-- If the table looks empty to the planner, two indexes often cost the same, and it chooses the one that was created
-- last. The indexes for single look-ups in the queue therefore come last.
create index coding_jobs_session_idx on public.coding_jobs (session_id, project_id, user_id, created_at)
  with (deduplicate_items = off);
-- recently finished jobs
create index coding_jobs_finished_idx on public.coding_jobs (completed_at)
  where completed_at is not null;
-- dead letters
create index coding_jobs_dead_idx on public.coding_jobs (completed_at) where status = 'failed';
-- Jobs that wait for a back-off or a schedule. This index, the next one and their queries use starts_with, so that no
-- other query can choose them: if no job waited at the last analyze, all partial indexes look alike to the planner.
create index coding_jobs_deferred_idx on public.coding_jobs (run_at)
  where starts_with(status, 'pending') and run_at is not null;
-- The oldest waiting job, for get_queue_stats. Its condition differs from the one above, as a query that chose the wrong
-- index of the two would read all of it.
create index coding_jobs_waiting_idx on public.coding_jobs (created_at)
  where starts_with(status, 'pend');
-- reclaim_jobs
create index coding_jobs_leases_idx on public.coding_jobs (lease_expires_at)
  with (deduplicate_items = off) where status = 'processing';
create unique index coding_jobs_idempotency_key on public.coding_jobs (project_id, idempotency_key)
  where idempotency_key is not null;
-- claim_jobs
create index coding_jobs_ready_idx on public.coding_jobs (priority desc, created_at, id)
  where status = 'pending' and is_head and run_at is null;
-- the next job of a project: among those that are due or were tried before, otherwise among the scheduled ones
create index coding_jobs_scheduled_idx on public.coding_jobs (project_id, run_at)
  where status = 'pending' and run_at is not null and attempt = 0;
create index coding_jobs_line_idx on public.coding_jobs (project_id, priority desc, created_at, id)
  where status = 'pending' and (run_at is null or attempt > 0);
-- one running job per project
create unique index coding_jobs_head_key on public.coding_jobs (project_id)
  with (deduplicate_items = off) where is_head;

create table public.session_events (
  session_id uuid not null,
  seq bigint not null check (seq > 0),
  job_id uuid,
  user_id uuid not null,
  event_type text not null check (event_type in (
    'thinking', 'terminal', 'file_change', 'preview_ready', 'completion', 'error', 'message'
  )),
  data jsonb not null default '{}',
  batch_id uuid,
  created_at timestamptz not null default clock_timestamp(),
  primary key (session_id, seq),
  foreign key (user_id, session_id) references public.coding_sessions (user_id, id) on delete cascade,
  foreign key (job_id, user_id)
    references public.coding_jobs (id, user_id) on delete set null (job_id),
  -- A job is never done while a check fails.
  constraint session_events_completion_is_green check (
    event_type <> 'completion' or (
      coalesce(data -> 'report' ->> 'green', 'true') = 'true'
      and not data @? '$.report.checks[*] ? (@.is_green == false)'
    )
  )
);
comment on column public.session_events.batch_id is
  'Set on the first event of a batch, so that a batch can be sent again if its answer was lost.';
create unique index session_events_batch_key on public.session_events (session_id, batch_id)
  where batch_id is not null;
create index session_events_user_id_idx on public.session_events (user_id, session_id);
create index session_events_job_id_idx on public.session_events (job_id, user_id)
  where job_id is not null;

create table public.project_revisions (
  id uuid primary key default private.uuid7(),
  project_id uuid not null,
  user_id uuid not null,
  parent_id uuid,
  source text not null check (source in ('template', 'agent', 'person', 'restore')),
  job_id uuid,
  attempt integer,
  check_report jsonb,
  created_at timestamptz not null default clock_timestamp(),
  unique (id, project_id),
  foreign key (user_id, project_id) references public.projects (user_id, id) on delete cascade,
  foreign key (parent_id, project_id) references public.project_revisions (id, project_id),
  foreign key (job_id, user_id)
    references public.coding_jobs (id, user_id) on delete set null (job_id),
  constraint project_revisions_agent_is_green check (
    source <> 'agent' or (
      coalesce(check_report ->> 'green', 'false') = 'true'
      and check_report @? '$.checks[*]'
      and not check_report @? '$.checks[*] ? (@.is_green != true)'
    )
  )
);
create index project_revisions_project_idx on public.project_revisions (project_id, created_at desc);
create index project_revisions_user_id_idx on public.project_revisions (user_id, project_id);
create index project_revisions_parent_idx on public.project_revisions (parent_id, project_id);
create index project_revisions_job_idx on public.project_revisions (job_id, user_id);

alter table public.projects
  add constraint projects_head_revision_fkey
  foreign key (head_revision_id, id) references public.project_revisions (id, project_id);
create index projects_head_revision_idx on public.projects (head_revision_id, id);

create table public.project_blobs (
  project_id uuid not null,
  user_id uuid not null,
  sha256 bytea not null,
  content bytea not null,
  created_at timestamptz not null default now(),
  primary key (project_id, sha256),
  foreign key (user_id, project_id) references public.projects (user_id, id) on delete cascade,
  constraint project_blobs_hash_is_true check (sha256 = pg_catalog.sha256(content))
);
create index project_blobs_user_id_idx on public.project_blobs (user_id, project_id);

create table public.project_files (
  revision_id uuid not null,
  path text not null check (path <> '' and path !~ '(^|/)\.\.?(/|$)' and left(path, 1) <> '/'),
  project_id uuid not null,
  user_id uuid not null,
  sha256 bytea not null,
  primary key (revision_id, project_id, path),
  foreign key (revision_id, project_id)
    references public.project_revisions (id, project_id) on delete cascade,
  foreign key (project_id, sha256) references public.project_blobs (project_id, sha256),
  foreign key (user_id, project_id) references public.projects (user_id, id) on delete cascade
);
create index project_files_blob_idx on public.project_files (project_id, sha256);
create index project_files_user_id_idx on public.project_files (user_id, project_id);

create table public.job_turns (
  job_id uuid not null,
  attempt integer not null,
  turn integer not null,
  project_id uuid not null,
  user_id uuid not null,
  model text not null,
  record jsonb,
  usage jsonb,
  reserved_usd numeric(12, 6) not null default 0 check (reserved_usd >= 0),
  cost_usd numeric(12, 6) check (cost_usd >= 0),
  created_at timestamptz not null default clock_timestamp(),
  settled_at timestamptz,
  primary key (job_id, attempt, turn),
  foreign key (job_id, user_id) references public.coding_jobs (id, user_id) on delete cascade,
  foreign key (project_id, user_id) references public.projects (id, user_id) on delete cascade
);
comment on column public.job_turns.record is
  'What a replay needs: request, response, tool results, and the check report of the turn.';
comment on column public.job_turns.cost_usd is 'Null until settled, and if the price is unknown.';
create index job_turns_user_id_idx on public.job_turns (user_id, created_at);
create index job_turns_project_idx on public.job_turns (project_id, user_id);
create index job_turns_job_idx on public.job_turns (job_id, user_id);

create table public.preview_containers (
  id uuid primary key default private.uuid7(),
  provider text not null check (provider in ('docker', 'process', 'railway')),
  container_id text not null unique,
  session_id uuid not null,
  project_id uuid not null,
  user_id uuid not null,
  metro_url text not null,
  status text not null default 'starting' check (status in ('starting', 'running', 'stopped', 'error')),
  last_activity_at timestamptz not null default now(),
  resource_usage jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  foreign key (session_id, project_id, user_id)
    references public.coding_sessions (id, project_id, user_id) on delete cascade
);
create index preview_containers_session_idx
  on public.preview_containers (session_id, project_id, user_id);
create index preview_containers_user_id_idx on public.preview_containers (user_id);
create index preview_containers_status_idx on public.preview_containers (status);
create index preview_containers_last_activity_idx on public.preview_containers (last_activity_at);

create table public.workers (
  id text primary key,
  host text not null,
  pid integer not null,
  version text not null,
  slots integer not null check (slots >= 0),
  machine_key text not null default '',
  process_started text not null default '',
  started_at timestamptz not null default now(),
  last_heartbeat_at timestamptz not null default now(),
  gone_at timestamptz
);
comment on column public.workers.machine_key is
  'Identifies the machine; workers with the same key can check whether the process lives by its pid.';
comment on column public.workers.process_started is 'Distinguishes the process from a later one with the same pid.';
-- the workers of a machine
create index workers_machine_idx on public.workers (machine_key) where gone_at is null;
