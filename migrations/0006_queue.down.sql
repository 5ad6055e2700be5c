-- Drops the queue's verbs; the jobs stay.

drop function
  public.get_queue_stats, public.next_due_seconds, public.reclaim_jobs, public.retry_job, public.cancel_job,
  public.hand_back_attempt, public.cancel_attempt, public.fail_attempt, public.fail_job, public.complete_job,
  public.renew_jobs, public.claim_next_job, public.claim_jobs, public.enqueue_job;
drop function private.append_error, private.end_attempt, private.fence, private.locked_job, private.lock_line;
