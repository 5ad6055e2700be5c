-- Drops the line. Jobs that are claimed or waiting keep their flags.

drop trigger rests on public.projects;
drop trigger emptied on public.coding_jobs;
drop trigger gone on public.coding_jobs;
drop trigger moved on public.coding_jobs;
drop trigger entered on public.coding_jobs;
drop trigger keep_whole on public.coding_jobs;
drop trigger enter_line on public.coding_jobs;
drop function
  private.backoff, private.release_due, private.project_rests, private.jobs_emptied, private.jobs_left,
  private.jobs_moved, private.jobs_entered, private.notify_in_pieces, private.revive_sessions, private.keep_job_whole,
  private.enter_line, private.settle_heads, private.first_in_line, private.recount_jobs, private.count_jobs;
drop table private.job_counts;
