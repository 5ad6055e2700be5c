-- Takes the line away: what is claimed or waiting keeps its flags.

drop trigger rests on public.projects;
drop trigger emptied on public.coding_jobs;
drop trigger gone on public.coding_jobs;
drop trigger moved on public.coding_jobs;
drop trigger entered on public.coding_jobs;
drop trigger keep_whole on public.coding_jobs;
drop trigger enter_line on public.coding_jobs;
drop function private.backoff(integer);
drop function private.release_due(integer);
drop function private.project_rests();
drop function private.jobs_emptied();
drop function private.jobs_left();
drop function private.jobs_moved();
drop function private.jobs_entered();
drop function private.revive_sessions(uuid[]);
drop function private.keep_job_whole();
drop function private.enter_line();
drop function private.settle_heads(uuid[]);
drop function private.recount_jobs();
drop function private.count_jobs(bigint, bigint, bigint, bigint, bigint);
drop table private.job_counts;
