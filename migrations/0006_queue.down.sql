-- Drops the queue's verbs; the jobs stay.

drop trigger notify_worker_ended on public.workers;
drop trigger notify_worker_started on public.workers;
drop function
  public.get_queue_stats, public.next_due_seconds, public.reclaim_worker, public.reclaim_jobs, public.retry_all_dead,
  public.retry_job, public.cancel_job, public.hand_back_attempt, public.cancel_attempt, public.fail_attempt,
  public.fail_job, public.complete_job, public.held_jobs, public.renew_jobs, public.claim_next_job, public.claim_jobs,
  public.enqueue_job;
drop function
  private.notify_worker, private.reclaim, private.retriable, private.append_error, private.end_attempts, private.fence,
  private.locked_job, private.lock_lines;
