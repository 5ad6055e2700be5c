-- Drops the line. Jobs that are claimed or waiting keep their flags.

drop trigger deleted_or_restored on public.projects;
drop trigger jobs_truncated on public.coding_jobs;
drop trigger jobs_deleted on public.coding_jobs;
drop trigger jobs_updated on public.coding_jobs;
drop trigger jobs_inserted on public.coding_jobs;
drop trigger complete_row on public.coding_jobs;
drop trigger enter_line on public.coding_jobs;
drop function
  private.backoff, private.release_due, private.project_deleted_or_restored, private.jobs_truncated,
  private.jobs_deleted, private.jobs_updated, private.jobs_inserted, private.notify_in_pieces,
  private.revive_sessions, private.complete_row, private.enter_line, private.settle_heads, private.first_in_line,
  private.recount_jobs, private.count_jobs;
drop table private.job_counts;
