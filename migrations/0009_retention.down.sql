-- Drops the functions; deleted rows do not come back.

drop function public.expire_sessions, public.forget_jobs, public.forget_workers;
drop function private.forget_events, private.lock_retention;
